"""The program: read a command line, run one command, return its exit status.

This module and what it imports at the top is all that ``modelvault --help`` pays for.
"""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from modelvault.cli.group import TableGroup
from modelvault.cli.outcome import carry_out, report
from modelvault.cli.session import Session
from modelvault.cli.table import COMMANDS
from modelvault.errors import BadUsage, Interrupted

if TYPE_CHECKING:
    from typer._click import Command


_ASKED = "_MODELVAULT_COMPLETE"
_INSTALL, _SHOW = "--install-completion", "--show-completion"


class _Commands(TableGroup):
    rows = COMMANDS


app = typer.Typer(
    name="modelvault",
    cls=_Commands,
    help="Carry open-weight models across an air gap: pull, convert, export, import, install.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
)


def _install(value: bool) -> None:
    if value:
        raise typer.Exit(_completion(_INSTALL, None))


def _show(value: bool) -> None:
    if value:
        raise typer.Exit(_completion(_SHOW, None))


@app.callback()
def _modelvault(
    *,
    install: Annotated[
        bool,
        typer.Option(
            _INSTALL,
            help="Teach the shell to complete commands, options and references; bash, zsh or fish "
            "may follow.",
            callback=_install,
            is_eager=True,
            expose_value=False,
        ),
    ] = False,
    show: Annotated[
        bool,
        typer.Option(
            _SHOW,
            help="Print what teaches it.",
            callback=_show,
            is_eager=True,
            expose_value=False,
        ),
    ] = False,
) -> None:
    """Make typer build a group: its other options and its commands come from elsewhere."""


def run_program(arguments: list[str]) -> int:
    """Run one command line; return its exit status."""
    command = typer.main.get_command(app)
    if _ASKED in os.environ and _answer(command):
        return 0
    if arguments[:1] in ([_INSTALL], [_SHOW]) and len(arguments) == 2:
        return _completion(*arguments)
    try:
        status = command.main(
            arguments, prog_name="modelvault", standalone_mode=False, obj=Session()
        )
    except SystemExit as end:  # of shell completion
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except typer.Abort:
        return report(Session(json=_asks_for_json(arguments)), Interrupted("stopped"))
    except typer.TyperException as error:
        return report(Session(json=_asks_for_json(arguments)), _bad_usage(error))
    return status if isinstance(status, int) else 0


def _answer(command: "Command") -> bool:
    """Print what a shell's word completes to; return whether the shell is one of ours."""
    from modelvault.cli.shells import answer

    try:
        offers = answer(command, {"obj": Session()}, "modelvault", dict(os.environ))
    except Exception:  # a shell that waits for offers has nowhere to show an error
        offers = ""
    if offers:
        print(offers)
    return offers is not None


def _completion(option: str, shell: str | None) -> int:
    """Show or install the script of a shell; return the exit status."""
    from modelvault.cli.shell_scripts import install_completion, show_completion

    session = Session()
    work = install_completion if option == _INSTALL else show_completion
    return carry_out(session, f"modelvault {option}", lambda: work(session, shell))


def _bad_usage(error: typer.TyperException) -> BadUsage:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "modelvault"
    return BadUsage(error.format_message(), hint=f"{command} --help shows how it is called")


def _asks_for_json(arguments: list[str]) -> bool:
    """Return whether ``--json`` was given; for command lines that do not parse."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options
