"""How this program was installed, and the command that adds an extra to it.

A hint must work as printed, on a host that may have no index, and must never fetch a stranger's
package that happens to bear our name. So nothing is installed by our name: the extra comes
from where the program came from, and from its requirements where that is gone.

Example:
    >>> install_command("gguf")
    "/opt/venv/bin/python -m pip install --constraint /opt/…/constraints.txt '/srv/…whl[gguf]'"

Source: https://packaging.python.org/en/latest/specifications/direct-url/
"""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

NAME = "modelvault-airgap"
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
"""What this release was tested with: names and versions, shipped beside the code."""

_OF_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the installed program came from, if that is still there."""

    place: Path
    """A wheel, or the folder of a checkout."""
    editable: bool
    """Whether the checkout itself is what runs."""


def install_command(extra: str) -> str:
    """Return the command line that adds an extra to this installation, quoted for a shell.

    Args:
        extra: Its name in ``pyproject.toml``, such as ``gguf``.

    Returns:
        Empty for an extra that is not ours: a converter may come from elsewhere.
        Empty, too, where sources run that were never installed as a distribution.
    """
    try:
        installed = distribution(NAME)
    except PackageNotFoundError:
        return ""
    if extra not in (installed.metadata.get_all("Provides-Extra") or ()):
        return ""
    origin = _find_checkout() or read_origin(installed)
    if origin is None:
        return _command(requirements(installed.requires or (), extra))
    wanted = f"{origin.place}[{extra}]"
    return _command(["--editable", wanted] if origin.editable else [wanted])


def read_origin(installed: Distribution) -> Origin | None:
    """Return where pip or uv say that the program came from; None for an index, or gone."""
    text = installed.read_text("direct_url.json")
    if text is None:
        return None
    try:
        record = json.loads(text)
        url = urlsplit(record["url"])
        editable = bool(record.get("dir_info", {}).get("editable"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # the error that is being explained matters more than a broken record
    place = Path(unquote(url.path))
    if url.scheme != "file" or not place.exists():
        return None
    return Origin(place=place, editable=editable)


def requirements(requires: Iterable[str], extra: str) -> list[str]:
    """Return what an extra requires, out of a distribution's ``Requires-Dist``."""
    found = (line.partition(";") for line in requires)
    return [name.strip() for name, _, marker in found if extra in _OF_EXTRA.findall(marker)]


def _find_checkout() -> Origin | None:
    folder = Path(__file__).parents[1]
    return Origin(place=folder, editable=True) if (folder / "pyproject.toml").exists() else None


def _command(wanted: list[str]) -> str:
    python = sys.executable
    if find_spec("pip") is not None:
        pip = [python, "-m", "pip", "install"]
    elif shutil.which("pip") or not shutil.which("uv"):
        pip = ["pip", "--python", python, "install"]
    else:
        pip = ["uv", "pip", "install", "--python", python]
    return shlex.join([*pip, "--constraint", str(CONSTRAINTS), *wanted])
