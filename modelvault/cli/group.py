"""How typer's commands become ours: loaded when called, with the common options and a session.

``TableGroup`` lists rows of the table and imports none of their modules. Each row stands there
as a ``LazyCommand``, which knows its one line of help; called, it imports the function and
hands over to the ``SessionCommand`` made of it. Both take the common options beside their own,
so that these may stand before or after a command's name; what was given last holds.
"""

import importlib
from typing import TYPE_CHECKING, Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from modelvault.cli.options import common_options
from modelvault.cli.outcome import carry_out
from modelvault.cli.session import Session
from modelvault.cli.table import ALIASES, CommandRow, GroupRow

if TYPE_CHECKING:
    from typer._click import Command, Context

_FUNCTIONS = "modelvault.cli.commands"
_USAGE_STATUS = 2


class SessionCommand(TyperCommand):
    """A command with the common options, whose function is run in their session."""

    def __init__(self, *args: Any, params: Any = None, **settings: Any) -> None:
        """Make the command.

        Args:
            *args: As typer has them.
            params: Its own parameters.
            **settings: As typer has them.
        """
        super().__init__(*args, params=[*(params or ()), *common_options()], **settings)

    def invoke(self, ctx: "Context") -> int:
        """Run the function; return the exit status."""
        session = Session.of(ctx)
        return carry_out(session, ctx.command_path, lambda: super(SessionCommand, self).invoke(ctx))


def load_command(row: CommandRow) -> "Command":
    """Return a row's command; its module is imported now."""
    module, _, name = row.function.partition(":")
    function = getattr(importlib.import_module(f"{_FUNCTIONS}.{module}"), name)
    alone = typer.Typer(add_completion=False)
    alone.command(row.name, cls=SessionCommand, rich_help_panel=row.panel or None)(function)
    return typer.main.get_command(alone)


class LazyCommand(TyperCommand):
    """A row of the table; the command itself is loaded when it is called."""

    def __init__(self, row: CommandRow) -> None:
        """Show what the row says.

        Args:
            row: The command.
        """
        also = [alias for alias, name in ALIASES.items() if name == row.name]
        known_as = f" (or: {', '.join(also)})" if also else ""
        super().__init__(row.name, help=row.help + known_as, rich_help_panel=row.panel or None)
        self._row = row

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: "Context | None" = None,
        **extra: Any,
    ) -> "Context":
        """Load the command and let it parse its arguments."""
        return load_command(self._row).make_context(info_name, args, parent, **extra)


class TableGroup(TyperGroup):
    """Commands of the table, with the common options."""

    rows: ClassVar[tuple[CommandRow | GroupRow, ...]] = ()
    """What a subclass lists, unless its maker says otherwise."""

    def __init__(
        self,
        *,
        rows: tuple[CommandRow | GroupRow, ...] = (),
        params: Any = None,
        commands: Any = None,  # noqa: ARG002 - typer hands over an empty one
        **settings: Any,
    ) -> None:
        """Make the group; nothing is imported.

        Args:
            rows: Its commands; without any, the class's.
            params: Options of its own.
            commands: Not used: the rows are the commands.
            **settings: As typer has them.
        """
        super().__init__(
            commands={row.name: _entry(row) for row in rows or self.rows},
            params=[*(params or ()), *common_options()],
            **settings,
        )

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Parse the options before a command's name; nothing at all asks for help.

        A program gets an error instead: help is nothing that it reads.
        """
        if not args and not ctx.resilient_parsing and not Session.of(ctx).json:
            ctx.get_help()  # typer prints it
            ctx.exit(_USAGE_STATUS)
        return super().parse_args(ctx, args)

    def get_command(self, ctx: "Context", cmd_name: str) -> "Command | None":
        """Return the command of this name, or of the short name that people know it by."""
        return super().get_command(ctx, cmd_name) or self.commands.get(ALIASES.get(cmd_name, ""))


def _entry(row: CommandRow | GroupRow) -> "Command":
    if isinstance(row, CommandRow):
        return LazyCommand(row)
    return TableGroup(
        name=row.name, rows=row.commands, help=row.help, rich_help_panel=row.panel or None
    )
