"""Make a release: wheel, constraints, SBOM and checksums in ``dist/``, then a commit and a tag.

``make release`` runs it. The version is ``modelvault.__version__``; what ``CHANGELOG.md`` has under
"Unreleased" becomes that version's section. Everything is built from the last commit, with its time
as the time of every file, and nothing is uploaded.

The SBOM lists what users install with any extra, at the versions of ``constraints.txt``: neither
what only the tests use, nor what happens to be installed here.
"""

import datetime as dt
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

DISTRIBUTION = "modelvault-airgap"
NOT_SHIPPED = "test"
"""The extra that no user installs."""

_UNRELEASED = "## [Unreleased]\n"
_SECTIONS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


class Refused(Exception):
    """The release cannot be made."""


def cut_changelog(text: str, version: str, today: dt.date) -> str:
    """Return the changelog with what is unreleased moved to a section of its own.

    Raises:
        Refused: There is nothing to release, the version has a section already, or the form is
            not that of Keep a Changelog.
    """
    before, found, after = text.partition(_UNRELEASED)
    if not found:
        raise Refused(f"CHANGELOG.md has no line '{_UNRELEASED.strip()}'")
    if f"\n## [{version}]" in text:
        raise Refused(f"CHANGELOG.md has a section {version}: raise modelvault.__version__")
    body, *older = re.split(r"^(?=## \[)", after, maxsplit=1, flags=re.MULTILINE)
    parts = re.split(r"^### (.*)\n", body, flags=re.MULTILINE)
    unknown = set(parts[1::2]) - set(_SECTIONS)
    if parts[0].strip() or unknown:
        raise Refused(f"under Unreleased, every line stands below one of: {', '.join(_SECTIONS)}")
    kept = [
        f"### {name}\n\n{lines.strip()}\n"
        for name, lines in zip(parts[1::2], parts[2::2], strict=True)
        if lines.strip()
    ]
    if not kept:
        raise Refused("CHANGELOG.md has nothing under Unreleased")
    head = f"{before}{_UNRELEASED}\n## [{version}] - {today:%Y-%m-%d}\n\n"
    return head + "\n".join(kept) + "".join(f"\n{rest}" for rest in older)


def shipped(root: Path) -> Iterator[str]:
    """Yield the lines of ``constraints.txt`` that an installation with every extra uses.

    Raises:
        Refused: Something that would be installed has no line.
    """
    pins = {
        canonicalize_name(line.partition("==")[0]): line
        for line in (root / "constraints.txt").read_text().splitlines()
    }
    for name in sorted(_installed_with(root)):
        if name not in pins:
            raise Refused(f"constraints.txt does not say which version of {name} is shipped")
        yield pins[name]


def _installed_with(root: Path) -> set[NormalizedName]:
    """Return the names of all that our requirements lead to, on this platform."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    waiting += [
        Requirement(line) for name, lines in extras.items() if name != NOT_SHIPPED for line in lines
    ]
    known: set[tuple[NormalizedName, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *wanted.extras):
            if (name, extra) in known:
                continue
            known.add((name, extra))
            for line in distribution(name).requires or ():
                further = Requirement(line)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    waiting.append(further)
    return {name for name, _ in known}


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of all files in a folder, as ``sha256sum --check`` reads it."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


def find_sbom_tool() -> str | None:
    """Return where cyclonedx-bom's command stands; None where it is not installed."""
    named = os.environ.get("MODELVAULT_CYCLONEDX", "")
    return named if named and Path(named).exists() else shutil.which("cyclonedx-py")


def release(root: Path, *, today: dt.date) -> Path:
    """Make the release and return the folder that holds it.

    Args:
        root: The checkout.
        today: What the changelog says.

    Raises:
        Refused: The tree has changes, the changelog does not fit, the release stands there already
            or a tool is missing. Nothing has been changed then.
    """
    if _git(root, "status", "--porcelain"):
        raise Refused("the tree has changes: commit them, or put them aside")
    version = _version(root)
    changelog = cut_changelog((root / "CHANGELOG.md").read_text(), version, today)
    folder = root / "dist" / f"{DISTRIBUTION}-{version}"
    if folder.exists():
        raise Refused(f"{folder} exists: raise modelvault.__version__, or remove it")
    tool = find_sbom_tool()
    if tool is None:
        raise Refused("cyclonedx-bom is not installed: make .venv/.complete")
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        _build(root, Path(scratch), made)
        shutil.copyfile(root / "constraints.txt", made / "constraints.txt")
        _describe(root, version, tool, made / f"{DISTRIBUTION}-{version}.cdx.json")
        write_sums(made)
        made.rename(folder)
    (root / "CHANGELOG.md").write_text(changelog)
    _git(root, "commit", "--quiet", "--message", f"release: {version}", "--", "CHANGELOG.md")
    _git(root, "tag", "--annotate", "--message", f"ModelVault {version}", f"v{version}")
    return folder


def _version(root: Path) -> str:
    text = _read(root, "modelvault/version.py")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise Refused("modelvault/version.py has no __version__")
    return found[1]


def _build(root: Path, scratch: Path, made: Path) -> None:
    """Build the wheel from the last commit alone."""
    tree = scratch / "tree"
    tree.mkdir()
    packed = subprocess.run(
        ["git", "-C", root, "archive", "--format=tar", "HEAD"], check=True, capture_output=True
    )
    subprocess.run(["tar", "--extract", "--directory", tree], input=packed.stdout, check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", made, tree], check=True, env=_environ(root)
    )


def _describe(root: Path, version: str, tool: str, path: Path) -> None:
    """Write the SBOM; the tool checks it against CycloneDX's schema."""
    text = _read(root, "pyproject.toml")
    project = text.replace('dynamic = ["version"]', f'version = "{version}"')
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / "pyproject.toml"
        named.write_text(project)
        subprocess.run(
            [
                *(tool, "requirements", "--pyproject", named, "--short-PURLs", "--validate"),
                *("--output-reproducible", "--output-format", "JSON", "--output-file", path, "-"),
            ],
            input="".join(f"{line}\n" for line in shipped(root)),
            text=True,
            check=True,
            env=_environ(root),
        )


def _environ(root: Path) -> dict[str, str]:
    return {**os.environ, "SOURCE_DATE_EPOCH": _git(root, "log", "-1", "--format=%ct")}


def _read(root: Path, path: str) -> str:
    return (root / path).read_text(encoding="utf-8")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", root, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


def main() -> int:
    """Release the checkout that this is run in; return the exit status."""
    try:
        folder = release(Path.cwd(), today=dt.datetime.now(dt.UTC).date())
    except Refused as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 1
    print(f"{folder}: look through it, then push the commit and the tag")
    return 0


if __name__ == "__main__":
    sys.exit(main())
