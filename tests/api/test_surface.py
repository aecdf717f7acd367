"""The interface for programs is what its reference page prints, and costs nothing to import."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import modelvault
from modelvault import api

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "python.md").read_text("utf-8")
GUIDE = (DOCS / "guides" / "python.md").read_text("utf-8")
FUNCTIONS, VALUES = re.findall(r"^```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)

SHOWN = {
    name: item
    for name in api.__all__
    if inspect.isclass(item := getattr(api, name)) and item is not modelvault.Vault
}
"""What the functions return, is found in that, or is handed to them."""

HEAVY = {"cryptography", "huggingface_hub", "rich", "sqlalchemy", "typer", "urllib3"}

LOADED = """
import json, sys
before = set(sys.modules)
{code}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def plain(annotation: object) -> str:
    """Return a type as a reader writes it, without the modules where classes stand."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", text).replace("'", "")


def call(name: str, function: Any) -> str:
    """Return how a function is called: on one line, or a parameter a line."""
    parameters: list[str] = []
    signature = inspect.signature(function)
    for item in signature.parameters.values():
        if item.name == "self":
            continue
        if item.kind is item.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        default = "" if item.default is item.empty else f" = {item.default!r}"
        parameters.append(f"{item.name}: {plain(item.annotation)}{default}")
    result = plain(signature.return_annotation)
    if inspect.isgeneratorfunction(inspect.unwrap(function)):
        result = result.replace("Iterator", "AbstractContextManager")
    line = f"{name}({', '.join(parameters)}) -> {result}"
    if len(line) <= 96:
        return line
    return "\n".join([f"{name}(", *(f"    {item}," for item in parameters), f") -> {result}"])


def attribute(kind: type, name: str) -> str:
    """Return an attribute or method of a class with its type."""
    for base in kind.__mro__:
        found = inspect.getattr_static(base, name, None)
        if isinstance(found, property):
            assert found.fget is not None
            return f"{name}: {plain(inspect.signature(found.fget).return_annotation)}"
        if inspect.isfunction(found):
            return call(name, found)
        if name in (annotations := inspect.get_annotations(base)):
            return f"{name}: {plain(annotations[name])}"
    assigned = re.search(rf"self\.{name} = (\w+)", inspect.getsource(kind))
    assert assigned is not None, f"{kind.__name__} has no {name}"
    return f"{name}: {TYPES_OF_ERRORS[name]}"


TYPES_OF_ERRORS = {"message": "str", "hint": "str", "issues": "tuple[str, ...]"}


def modules_after(code: str) -> set[str]:
    """Return the modules that a piece of code imports in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(code=code)], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_functions_are_called_as_the_reference_prints() -> None:
    """A changed name, parameter, default or type is a change of this page, made on purpose."""
    functions = {name: getattr(modelvault, name) for name in modelvault.__all__}
    calls = [
        call(name, item) for name, item in sorted(functions.items()) if inspect.isfunction(item)
    ]
    assert "\n\n".join([call("Vault.open", modelvault.Vault.open), *calls]) + "\n" == FUNCTIONS


def test_values_have_what_the_reference_prints() -> None:
    """Every attribute that is promised is there, and of the type that is promised."""
    blocks = [block.splitlines() for block in VALUES.strip().split("\n\n")]
    assert [lines[0] for lines in blocks] == sorted(SHOWN)
    for name, *lines in blocks:
        attributes = [line.strip() for line in lines]
        names = [re.split(r"\W", line, maxsplit=1)[0] for line in attributes]
        assert [attribute(SHOWN[name], item) for item in names] == attributes, name


def test_every_public_name_is_documented() -> None:
    """The names of the guide's table are the names of the package, with a docstring each."""
    named = re.findall(r"^\| `([\w.]+)`", GUIDE, re.MULTILINE)
    assert sorted(name.partition(".")[0] for name in named) == sorted(modelvault.__all__)
    for name in set(modelvault.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(modelvault, name))
    for name in ("convert", "export", "import_bundle", "install", "plan_pull", "pull"):
        documented = inspect.getdoc(getattr(modelvault, name))
        assert documented is not None
        for parameter in inspect.signature(getattr(modelvault, name)).parameters:
            assert re.search(rf"^    {parameter}: ", documented, re.MULTILINE), (name, parameter)


def test_package_and_its_interface_name_the_same() -> None:
    """What the package hands out stands in ``modelvault.api``, with the types of values."""
    names = set(modelvault.__all__) - {"__version__"}
    assert set(api.__all__) - names == SHOWN.keys() - {"ModelVaultError"}
    for name in names:
        assert getattr(modelvault, name) is getattr(api, name)
    assert set(modelvault.__all__) <= set(dir(modelvault))


def test_unknown_name_is_no_attribute() -> None:
    """Neither at run time, nor for a type checker, which tests are checked with."""
    with pytest.raises(AttributeError, match="nonsense"):
        modelvault.nonsense  # type: ignore[attr-defined] # noqa: B018


def test_importing_the_package_imports_its_version_alone() -> None:
    """The command line, converters and programs pay for what they use."""
    assert modules_after("import modelvault") == {"modelvault", "modelvault.version"}
    assert "modelvault.errors" in modules_after("import modelvault.errors")
    assert not {"modelvault.api", "modelvault.app"} & modules_after("import modelvault.core.names")


def test_importing_every_name_takes_no_heavy_library() -> None:
    """Database, Hub and terminal come when a vault is worked with; keys are read with one."""
    roots = {name.partition(".")[0] for name in modules_after("from modelvault import *")}
    assert "modelvault" in roots
    assert roots & HEAVY <= {"cryptography"}


def test_importing_the_interface_changes_nothing(tmp_path: Path) -> None:
    """No file, no signal handler, no logging set up, no thread, nothing printed."""
    code = """
import logging, signal, sys, threading, warnings
def state():
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    told = logging.root.handlers[:], warnings.filters[:], sys.excepthook
    return signals, told, threading.active_count()
before = state()
from modelvault import *
assert state() == before
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"HOME": str(tmp_path)},
    )
    assert (done.stdout, done.stderr, list(tmp_path.iterdir())) == ("", "", [])
