"""The entry point: read a command line, run one command, return its exit status.

This module and what it imports at the top is all that ``modelvault --help`` pays for.
"""

import gc
import sys

import typer

from modelvault.cli.group import TableGroup
from modelvault.cli.outcome import report
from modelvault.cli.session import Session
from modelvault.cli.table import COMMANDS
from modelvault.errors import BadUsage


class _Commands(TableGroup):
    rows = COMMANDS


app = typer.Typer(
    name="modelvault",
    cls=_Commands,
    help="Carry open-weight models across an air gap: pull, convert, export, import, install.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _modelvault() -> None:
    """Make typer build a group: its options and commands come from elsewhere."""


def main() -> None:
    """Run the command line and exit with its status."""
    # A command makes many values, keeps them, and ends: looking through them all for cycles again
    # and again takes a tenth of its time, and finds none.
    gc.set_threshold(100_000, 50, 100)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit status."""
    command = typer.main.get_command(app)
    try:
        status = command.main(
            arguments, prog_name="modelvault", standalone_mode=False, obj=Session()
        )
    except SystemExit as end:  # of shell completion
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except typer.Abort:
        print("aborted", file=sys.stderr)
        return 1
    except typer.TyperException as error:
        return report(Session(json=_asks_for_json(arguments)), _bad_usage(error))
    return status if isinstance(status, int) else 0


def _bad_usage(error: typer.TyperException) -> BadUsage:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "modelvault"
    return BadUsage(error.format_message(), hint=f"{command} --help shows how it is called")


def _asks_for_json(arguments: list[str]) -> bool:
    """Return whether ``--json`` was given; for command lines that do not parse."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


if __name__ == "__main__":
    main()
