"""The options that every command takes, before or after its name.

Each option's callback puts what was given into the session on the context; the context of a
command inherits the session of its group.
"""

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelvault.cli.session import Session
from modelvault.version import __version__

if TYPE_CHECKING:
    from typer._click.core import Parameter

_PANEL = "Common options"


def _choose(context: typer.Context, option: typer.CallbackParam, value: Any) -> None:
    if value and option.name is not None:
        context.obj = dataclasses.replace(Session.of(context), **{option.name: value})


def _print_version(value: bool) -> None:
    if value:
        print(f"modelvault {__version__}")
        raise typer.Exit


def _option(*names: str, help: str, **settings: Any) -> Any:  # noqa: A002 - typer's word
    return typer.Option(
        *names,
        help=help,
        rich_help_panel=_PANEL,
        expose_value=False,
        **{"callback": _choose, **settings},
    )


def _declaration(
    *,
    vault: Annotated[
        Path | None,
        _option("--vault", help="The vault's folder; default: $MODELVAULT_HOME or ~/.modelvault."),
    ] = None,
    json: Annotated[bool, _option("--json", help="Print JSON for programs.")] = False,
    quiet: Annotated[bool, _option("--quiet", "-q", help="No progress.")] = False,
    verbose: Annotated[
        bool, _option("--verbose", "-v", help="Show the log: what is done and decided.")
    ] = False,
    log_file: Annotated[
        Path | None, _option("--log-file", metavar="FILE", help="Append the log to this file.")
    ] = None,
    version: Annotated[
        bool,
        _option(
            "--version",
            help="Print the version and exit.",
            is_eager=True,
            callback=_print_version,
        ),
    ] = False,
) -> None:
    """Declare the options as typer reads them; it is never called."""


@functools.cache
def common_options() -> "tuple[Parameter, ...]":
    """Return the options as a command holds them."""
    alone = typer.Typer(add_completion=False)
    alone.command()(_declaration)
    return tuple(typer.main.get_command(alone).params)
