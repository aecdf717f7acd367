"""A hint that tells how to install an extra can be pasted into a shell."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from modelvault import conversion
from modelvault.core.protocol import Failed
from modelvault.distribution import CONSTRAINTS, install_command, read_origin, requirements
from modelvault.errors import ConverterMissing
from tests.packaging.conftest import CHECKOUT, PIP, Installed

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
EXTRAS = sorted(PROJECT["optional-dependencies"].keys() - {"test"})


class _Distribution(Distribution):
    """One that says only what pip recorded of its origin."""

    def __init__(self, record: object) -> None:
        self._record = record

    def read_text(self, filename: str) -> str | None:
        return None if self._record is None else json.dumps(self._record)

    def locate_file(self, path: object) -> Path:
        raise NotImplementedError


@pytest.fixture
def run_hint(installed: Installed, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Ask for an engine whose package is missing; run what is printed, and return it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path}
    pull = [installed.modelvault, "--vault", str(tmp_path / "vault"), "--json"]
    pull += ["pull", "acme/tiny", "--endpoint", "http://127.0.0.1:9", "--engine", "hf-transfer"]

    def run() -> str:
        refused = subprocess.run(
            pull, capture_output=True, text=True, check=False, cwd=tmp_path, env=environ
        )
        assert refused.returncode == 2, refused.stderr
        hint = re.search(r'"hint": ("(?:[^"\\]|\\.)*")', refused.stdout + refused.stderr)
        assert hint is not None, refused.stdout + refused.stderr
        command: str = json.loads(hint[1]).partition(": ")[2]
        subprocess.run(["/bin/sh", "-c", command], check=True, cwd=tmp_path, env=environ)
        subprocess.run([installed.python, "-c", "import hf_transfer"], check=True, cwd=tmp_path)
        return command

    yield run
    target = ["--python", str(installed.python), "uninstall", "--yes", "hf-transfer"]
    subprocess.run([*PIP, *target], check=True)


@pytest.mark.slow
def test_hint_installs_the_extra_from_the_wheel_that_was_installed(
    installed: Installed, run_hint: Callable[[], str]
) -> None:
    """Its folder has spaces, its environment no pip: the command works as printed."""
    command = shlex.split(run_hint())
    assert command[-1] == f"{installed.wheel}[hf-transfer]"


@pytest.mark.slow
def test_hint_installs_the_requirements_where_the_wheel_is_gone(
    installed: Installed, run_hint: Callable[[], str]
) -> None:
    """By their own names, with the constraints that came along; never by ours."""
    moved = installed.wheel.rename(installed.wheel.with_suffix(".away"))
    try:
        command = shlex.split(run_hint())
    finally:
        moved.rename(installed.wheel)
    assert command[-1].startswith("hf-transfer>=")
    assert not any(word.startswith("modelvault") for word in command)


@pytest.mark.parametrize("extra", EXTRAS)
def test_extra_of_an_editable_checkout_comes_from_its_folder(extra: str) -> None:
    """Which is how these tests run; with constraints that exist."""
    words = shlex.split(install_command(extra))
    assert words[-4:] == ["--constraint", str(CONSTRAINTS), "--editable", f"{CHECKOUT}[{extra}]"]
    assert CONSTRAINTS.read_text() == (CHECKOUT / "constraints.txt").read_text()


@pytest.mark.slow
def test_requirements_of_an_extra_are_those_of_the_project(installed: Installed) -> None:
    """Read from the wheel's metadata without a library, they are what a library reads."""
    (folder,) = installed.environment.glob(
        "lib/python*/site-packages/modelvault_airgap-*.dist-info"
    )
    requires = Distribution.at(folder).requires or ()
    for extra in EXTRAS:
        found = requirements(requires, extra)
        assert {str(Requirement(line)) for line in found} == {
            str(Requirement(line)) for line in PROJECT["optional-dependencies"][extra]
        }


def test_requirements_of_every_extra_are_constrained() -> None:
    """Whatever a hint installs has a version that was tested, torch included."""
    pinned = {
        re.split("==", line)[0].lower().replace("_", "-")
        for line in CONSTRAINTS.read_text().splitlines()
    }
    for extra in EXTRAS:
        for line in PROJECT["optional-dependencies"][extra]:
            assert Requirement(line).name.lower() in pinned, line


def test_converter_without_its_libraries_is_told_with_the_remedy() -> None:
    """The extra is named like the module that is run; the converter need not know it."""
    for entry in ("gguf", "awq", "fp8"):
        extra = conversion.extra_of(conversion.find_converter(entry))
        assert extra in EXTRAS
        event = Failed(error="ConverterMissing", message="a library is missing", hint="")
        error = conversion.failure(event, extra=extra)
        assert isinstance(error, ConverterMissing)
        assert error.hint == install_command(extra)


def test_converter_of_another_distribution_is_left_to_it() -> None:
    """An extra that we do not have is not asked of us."""
    assert install_command("theirs") == ""


@pytest.mark.parametrize(
    "record",
    [
        None,
        {"url": "https://files.example/modelvault_airgap-1-py3-none-any.whl"},
        {"url": "file:///nowhere/modelvault_airgap-1-py3-none-any.whl"},
        {"url": "https://git.example/modelvault", "vcs_info": {}},
        {"url": 7},
        [],
    ],
    ids=str,
)
def test_origin_that_is_not_at_hand_is_no_origin(record: object) -> None:
    """An index, another host, a wheel that is gone, a record that is none."""
    assert read_origin(_Distribution(record)) is None


def test_origin_with_spaces_is_found(tmp_path: Path) -> None:
    """The record holds a URL; the command needs a path."""
    wheel = tmp_path / "a wheel.whl"
    wheel.touch()
    origin = read_origin(_Distribution({"url": wheel.as_uri(), "archive_info": {}}))
    assert origin is not None
    assert origin.place == wheel
    assert not origin.editable


def test_no_document_installs_by_our_name() -> None:
    """On an index that name is a stranger's."""
    told = re.compile(r"pip install[^\n]*['\" ]modelvault(-airgap)?(\[|['\" \n])")
    pages = [CHECKOUT / "README.md", *(CHECKOUT / "docs").rglob("*.md")]
    sources = [
        *(CHECKOUT / "modelvault").rglob("*.py"),
        *(CHECKOUT / "converters").rglob("*.py"),
    ]
    found = [page.name for page in pages + sources if told.search(page.read_text())]
    assert [name for name in found if not name.startswith("0080")] == []
