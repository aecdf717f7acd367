"""What every command shares: the common options, and where its output goes.

Standard output carries the result: text for people, or with ``--json`` exactly one JSON
document. Progress, warnings and errors go to standard error: as text, or with ``--json``
as one JSON object a line.
"""

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelvault import __version__
from modelvault.errors import Interrupted, ModelVaultError

if TYPE_CHECKING:
    from modelvault.app.config import Config
    from modelvault.app.vault import Vault
    from modelvault.cli.progress import ProgressDisplay
    from modelvault.store.paths import VaultPaths


def _print_version(value: bool) -> None:
    if value:
        print(f"modelvault {__version__}")
        raise typer.Exit


_PANEL = "Common options"
VaultOption = Annotated[
    Path | None,
    typer.Option(
        "--vault",
        help="The vault's folder; default: $MODELVAULT_HOME or ~/.modelvault.",
        rich_help_panel=_PANEL,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON for programs.", rich_help_panel=_PANEL)
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress.", rich_help_panel=_PANEL)
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say more.", rich_help_panel=_PANEL)
]
VersionOption = Annotated[
    bool,
    typer.Option(
        "--version",
        help="Print the version and exit.",
        is_eager=True,
        callback=_print_version,
        rich_help_panel=_PANEL,
    ),
]

COMMON: dict[str, tuple[Any, Any]] = {
    "vault": (VaultOption, None),
    "json": (JsonOption, False),
    "quiet": (QuietOption, False),
    "verbose": (VerboseOption, False),
    "version": (VersionOption, False),
}


@dataclass(slots=True, kw_only=True)
class Session:
    """The common options of one run, and the ways to speak to its user."""

    vault: Path | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False

    def open_vault(self, *, create: bool = False) -> "AbstractContextManager[Vault]":
        """Open the vault that the options name."""
        from modelvault.app.vault import Vault

        return Vault.open(self.vault, create=create)

    def locate(self) -> "tuple[VaultPaths, Config]":
        """Return where the vault is or would be, and its settings; creates nothing."""
        from modelvault.app.config import read_config
        from modelvault.app.vault import default_root
        from modelvault.store.paths import VaultPaths

        paths = VaultPaths((self.vault or default_root(os.environ)).absolute())
        return paths, read_config(paths.config, os.environ)

    def progress(self, *, expected: int = 0) -> "ProgressDisplay":
        """Return the display of long work that suits the options and the terminal.

        Args:
            expected: Bytes of everything that is to come, where that is known.
        """
        from modelvault.cli.progress import choose_display

        return choose_display(json=self.json, quiet=self.quiet, expected=expected)

    def result(self, document: Mapping[str, Any] | list[Any], lines: Iterable[str]) -> None:
        """Print the result: the document as JSON, or the lines for people."""
        if self.json:
            print(json.dumps(document, ensure_ascii=False, indent=2))
        else:
            sys.stdout.writelines(f"{line}\n" for line in lines)

    def warn(self, message: str) -> None:
        """Tell the user something that is not an error."""
        if self.json:
            print(json.dumps({"event": "warning", "message": message}), file=sys.stderr)
        else:
            print(f"warning: {message}", file=sys.stderr)

    def note(self, message: str) -> None:
        """Tell people, not programs, what is going on or what to do next."""
        if not self.json and not self.quiet:
            print(message, file=sys.stderr)

    def error(self, error: ModelVaultError) -> None:
        """Report an error with its hint and issues."""
        if self.json:
            event = {
                "event": "error",
                "error": type(error).__name__,
                "message": error.message,
                "hint": error.hint,
                "issues": list(error.issues),
                "exit_code": error.exit_code,
            }
            print(json.dumps(event, ensure_ascii=False), file=sys.stderr)
            return
        print(f"error: {error.message}", file=sys.stderr)
        for issue in error.issues:
            print(f"  - {issue}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)


CURRENT = Session()
"""The session of this process; the command line fills it while it parses."""


def command(app: typer.Typer, name: str, **settings: Any) -> Callable[[Callable[..., None]], None]:
    """Register a function as a command that takes the common options too.

    The function's first parameter is the ``Session``; the common options are added to the
    others, so that they may stand before or after the command's name.
    """

    def register(function: Callable[..., None]) -> None:
        own = list(inspect.signature(function).parameters.values())[1:]
        common = [
            inspect.Parameter(
                option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
            for option, (annotation, default) in COMMON.items()
        ]

        @functools.wraps(function)
        def run(**values: Any) -> None:
            choose({option: values.pop(option) for option in COMMON})
            try:
                function(CURRENT, **values)
            except KeyboardInterrupt as stop:
                raise Interrupted(
                    "stopped", hint="run the same command again to go on from here"
                ) from stop

        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        run.__signature__ = inspect.Signature([*own, *common])  # type: ignore[attr-defined]
        run.__annotations__ = {item.name: item.annotation for item in (*own, *common)}
        app.command(name, **settings)(run)

    return register


def choose(options: Mapping[str, Any]) -> None:
    """Take over the common options that were given; a later one wins."""
    CURRENT.vault = options["vault"] or CURRENT.vault
    CURRENT.json = options["json"] or CURRENT.json
    CURRENT.quiet = options["quiet"] or CURRENT.quiet
    CURRENT.verbose = options["verbose"] or CURRENT.verbose
