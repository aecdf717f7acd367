"""The table of commands: complete, true to the commands, and loaded one by one."""

import inspect
from pathlib import Path

import pytest

from modelvault.cli import commands
from modelvault.cli.group import load_command
from modelvault.cli.main import run
from modelvault.cli.table import every_command
from tests.support.command import Site

COMMON = {"--vault", "--json", "--quiet", "--verbose", "--log-file", "--version"}


@pytest.mark.parametrize("name", sorted(every_command()))
def test_row_says_what_its_command_says(name: str) -> None:
    """The line that ``modelvault --help`` shows is the command's own, and it takes the options."""
    row = every_command()[name]
    command = load_command(row)
    assert command.callback is not None
    assert (inspect.getdoc(command.callback) or "").splitlines()[0] == row.help
    spellings = [option for parameter in command.params for option in parameter.opts]
    assert set(spellings) >= COMMON
    assert len(spellings) == len(set(spellings)), "an option of its own hides a common one"


def test_every_module_of_commands_is_in_the_table() -> None:
    """No verb is left out."""
    folder = Path(str(commands.__file__)).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    named = {row.function.partition(":")[0] for row in every_command().values()}
    assert modules - named == {"pull_list", "pull_update"}, "which pull imports"
    assert named <= modules


def test_unknown_command_names_its_like(capsys: pytest.CaptureFixture[str]) -> None:
    """A slip of the pen is told, with what is near, and ends with status 2."""
    assert run(["improt"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: No such command 'improt'. Did you mean 'import'? [BadUsage]",
        "hint: modelvault --help shows how it is called",
    ]


@pytest.mark.parametrize("arguments", [[], ["bundle"], ["key"]])
def test_group_without_a_command_shows_its_help(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Its commands are listed, and the status is that of a command line that asks for nothing."""
    assert run(arguments) == 2
    assert "Usage: modelvault" in capsys.readouterr().out


def test_common_options_stand_between_a_group_and_its_command(tmp_path: Path) -> None:
    """``modelvault key --vault DIR list`` means what it says."""
    site = Site(tmp_path / "site")
    made = site.run("key", "--vault", tmp_path / "there", "--json", "generate").ok().document
    listed = site.run("key", "list", "--vault", tmp_path / "there", "--json").ok().document
    assert listed["fingerprint"] == made["fingerprint"]
    assert not site.vault.exists()
