"""Start-up stays light: heavy libraries are imported by the verbs that need them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from modelvault.cli.table import every_command

HEAVY = {
    "alembic",
    "blosc2",
    "cryptography",
    "gguf",
    "huggingface_hub",
    "httpx2",
    "jinja2",
    "numpy",
    "rich.progress",
    "securesystemslib",
    "sqlalchemy",
    "torch",
    "transformers",
    "urllib3",
    "xllamacpp",
    "zstandard",
}

SIGNING = {
    "bundle show",
    "bundle sign",
    "bundle verify",
    "export",
    "import",
    "key export",
    "key generate",
    "key list",
    "trust add",
    "trust list",
    "trust remove",
}
"""Commands about signatures, which cryptography makes and checks."""

PROGRAM = """
import json, sys
from modelvault.cli.main import run
status = run(sys.argv[1:])
print()
print(json.dumps([status, sorted(sys.modules)]))
"""

LOADER = """
import json, sys
from modelvault.cli.group import load_command
from modelvault.cli.table import every_command
for name in sys.argv[1:]:
    load_command(every_command()[name])
print(json.dumps(sorted(sys.modules)))
"""


def modules_of(vault: Path, *arguments: str) -> set[str]:
    """Return the modules that a command imports."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--vault", str(vault), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    status, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == 0, done.stderr
    return set(modules)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["pull", "--help"]])
def test_help_imports_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    """``--help`` pays for typer and rich's text, nothing else."""
    assert modules_of(tmp_path, *arguments) & HEAVY == set()


def test_help_imports_no_command(tmp_path: Path) -> None:
    """The table of commands is enough to list them: no verb and no room below is imported."""
    rooms = ("modelvault.cli.commands.", "modelvault.app", "modelvault.store", "modelvault.core")
    assert not [name for name in modules_of(tmp_path, "--help") if name.startswith(rooms)]


def test_commands_are_light_to_load() -> None:
    """Help and completion of a command import its verb, and no heavy library but, for keys, one."""
    unsigned = sorted(every_command().keys() - SIGNING)
    for names, allowed in ((unsigned, set()), (sorted(SIGNING), {"cryptography"})):
        done = subprocess.run(
            [sys.executable, "-c", LOADER, *names], capture_output=True, text=True, check=True
        )
        assert set(json.loads(done.stdout)) & HEAVY <= allowed


def test_list_imports_no_database_toolkit(tmp_path: Path) -> None:
    """Once the catalogue stands, listing it reads one view with the standard library."""
    vault = tmp_path / "vault"
    modules_of(vault, "key", "generate")
    assert modules_of(vault, "list") & HEAVY == set()


def test_current_schema_needs_no_alembic(tmp_path: Path) -> None:
    """Alembic is imported when the schema is missing or stale, and only then."""
    vault = tmp_path / "vault"
    assert "alembic" in modules_of(vault, "key", "generate")
    assert "alembic" not in modules_of(vault, "history")
