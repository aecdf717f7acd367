"""The entry point: build the commands, run one, map its outcome to an exit status.

This module and what it imports at the top is all that ``modelvault --help`` pays for; the
commands import their verbs when they run.
"""

import os
import sys
import traceback

import typer

from modelvault.cli.commands import (
    convert,
    export,
    gguf,
    inspect,
    install,
    key,
    pull,
    show,
)
from modelvault.cli.commands import list as list_
from modelvault.cli.session import (
    CURRENT,
    JsonOption,
    QuietOption,
    VaultOption,
    VerboseOption,
    VersionOption,
    choose,
)
from modelvault.errors import ModelVaultError

app = typer.Typer(
    name="modelvault",
    help="Carry open-weight models across an air gap: pull, convert, export, import, install.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    vault: VaultOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    version: VersionOption = False,  # noqa: ARG001 - eager: its callback acts
) -> None:
    choose({"vault": vault, "json": json, "quiet": quiet, "verbose": verbose})


for _module in (
    pull,
    list_,
    show,
    inspect,
    convert,
    gguf,
    export,
    install,
    key,
):
    _module.register(app)


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit status.

    Errors of ModelVault are reported with their hint and give their own exit status.
    Anything else is a defect: reported in one line, with the traceback under ``--verbose``.
    """
    try:
        app(args=arguments, prog_name="modelvault", standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except ModelVaultError as error:
        CURRENT.error(error)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # quiet the final flush
        return 0
    except Exception as error:
        if CURRENT.verbose:
            traceback.print_exc()
        CURRENT.error(
            ModelVaultError(
                f"internal error: {type(error).__name__}: {error}",
                hint="this is a defect: run again with --verbose and report what it prints",
            )
        )
        return 1
    return 0


if __name__ == "__main__":
    main()
