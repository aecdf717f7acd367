"""A release is what the last commit says, complete and checkable."""

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from modelvault.version import __version__
from tests.packaging.conftest import CHECKOUT
from tests.packaging.release import Refused, cut_changelog, find_sbom_tool, shipped
from tests.support.needs import require

TODAY = dt.date(2026, 11, 27)
HEAD = "# Changelog\n\nAll notable changes.\n\n## [Unreleased]\n"
OLDER = "## [0.1.0] - 2026-01-01\n\n### Added\n\n- first\n"


def test_unreleased_lines_become_a_dated_section() -> None:
    """Empty sections go, older ones stay, and a new Unreleased stands on top."""
    text = f"{HEAD}\n### Added\n\n- new\n- more\n\n### Fixed\n\n### Security\n\n- safe\n\n{OLDER}"
    assert cut_changelog(text, "0.2.0", TODAY) == (
        f"{HEAD}\n## [0.2.0] - 2026-11-27\n\n### Added\n\n- new\n- more\n\n"
        f"### Security\n\n- safe\n\n{OLDER}"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{HEAD}\n{OLDER}", "nothing"),
        (f"{HEAD}\n### Added\n\n### Fixed\n", "nothing"),
        (f"{HEAD}\n- loose\n\n### Added\n\n- new\n", "below one of"),
        (f"{HEAD}\n### Novelties\n\n- new\n", "below one of"),
        (f"{HEAD}\n### Added\n\n- new\n\n## [0.2.0] - 2026-01-02\n\n### Added\n\n- x\n", "raise"),
        ("# Changelog\n", "no line"),
    ],
)
def test_changelog_that_does_not_fit_is_refused(text: str, reason: str) -> None:
    """Nothing to release, lines without a section, a version that is out already."""
    with pytest.raises(Refused, match=reason):
        cut_changelog(text, "0.2.0", TODAY)


def test_changelog_can_be_released_as_it_stands() -> None:
    """It keeps the form of Keep a Changelog, or has nothing new."""
    text = (CHECKOUT / "CHANGELOG.md").read_text()
    assert f"## [99.0.0] - {TODAY}" in cut_changelog(text, "99.0.0", TODAY)


def test_what_is_shipped_is_pinned_and_without_the_tests_tools() -> None:
    """Each requirement of each extra, and what they need in turn."""
    names = {line.partition("==")[0].lower() for line in shipped(CHECKOUT)}
    assert {"typer", "click", "torch", "sympy", "psycopg", "psycopg-binary", "hf-xet"} <= names
    assert names.isdisjoint({"pytest", "ruff", "mypy", "hypothesis", "sigstore"})


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of this checkout's last commit, with something unreleased."""
    if not shutil.which("git") or not (CHECKOUT / ".git").exists():
        require("git and a repository")
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-tags", CHECKOUT, folder], check=True)
    return folder


def make_release(clone: Path) -> "subprocess.CompletedProcess[str]":
    """Run what ``make release`` runs once the tests have passed."""
    who = {"NAME": "Tester", "EMAIL": "tester@example.org"}
    accounts = {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in who.items()}
    return subprocess.run(
        [sys.executable, "-m", "tests.packaging.release"],
        cwd=clone, env={**os.environ, **accounts}, check=False, capture_output=True, text=True,
    )  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    """Return what git says."""
    return subprocess.check_output(["git", "-C", folder, *arguments], text=True).strip()


def test_dirty_tree_is_refused_and_nothing_is_made(clone: Path) -> None:
    """A release is a commit."""
    (clone / "README.md").write_text("changed")
    done = make_release(clone)
    assert done.returncode == 1
    assert "the tree has changes" in done.stderr
    assert not (clone / "dist").exists()
    assert git(clone, "tag") == ""


@pytest.mark.slow
def test_release_is_complete_and_a_second_one_is_refused(clone: Path) -> None:
    """Wheel, constraints, SBOM and their checksums; a commit with the changelog, and its tag."""
    if find_sbom_tool() is None:
        require("cyclonedx-bom")
    before = git(clone, "rev-parse", "HEAD")
    done = make_release(clone)
    assert done.returncode == 0, done.stderr
    folder = clone / "dist" / f"modelvault-airgap-{__version__}"
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True)
    names = {path.name for path in folder.iterdir()} - {"SHA256SUMS", "constraints.txt"}
    wheel, sbom = sorted(names, reverse=True)
    assert re.fullmatch(rf"modelvault_airgap-{re.escape(__version__)}-.*\.whl", wheel)
    with zipfile.ZipFile(folder / wheel) as archive:
        shipped_list = archive.read("modelvault/constraints.txt")
        year = {item.date_time[0] for item in archive.infolist()}
    assert shipped_list == (folder / "constraints.txt").read_bytes()
    assert year == {int(git(clone, "log", "-1", "--format=%cd", "--date=format:%Y", before))}
    document = json.loads((folder / sbom).read_text())
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["version"] == __version__
    found = {f"{item['name']}=={item['version']}".lower() for item in document["components"]}
    assert found == {line.lower() for line in shipped(clone)}
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "rev-parse", f"v{__version__}^{{commit}}", "HEAD~1").split() == [
        git(clone, "rev-parse", "HEAD"), before,
    ]  # fmt: skip
    assert f"## [{__version__}] - " in (clone / "CHANGELOG.md").read_text()
    again = make_release(clone)
    assert again.returncode == 1
    assert "raise modelvault.__version__" in again.stderr
