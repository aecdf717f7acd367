"""How a command ends: its errors reported, each with its exit status."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

from modelvault.cli.session import Session
from modelvault.cli.signals import Stoppable
from modelvault.errors import Interrupted, ModelVaultError


def carry_out(session: Session, command: str, work: Callable[[], Any]) -> int:
    """Do a command's work and return its exit status.

    Errors of ModelVault are reported with their hint and give their own exit status.
    Anything else is a defect: reported in one line, its traceback in the log.

    Args:
        session: Says whether a log is kept; errors are reported there.
        command: What was called, such as ``modelvault pull``, for the log.
        work: The command's function with its arguments.
    """
    with Stoppable() as stop:
        try:
            with contextlib.ExitStack() as stack:
                if session.verbose or session.log_file is not None:
                    from modelvault.cli.logs import keep_log  # no other run pays for logging

                    stack.enter_context(keep_log(session, command))
                work()
        except (typer.Exit, typer.TyperException):
            raise  # the parser's own
        except BrokenPipeError:
            # quiet the final flush
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (ModelVaultError, KeyboardInterrupt, typer.Abort, Exception) as error:
            return report(session, _told(error, stop))
    return 0


def _told(error: BaseException, stop: Stoppable) -> ModelVaultError:
    """Return what the user is told of an error.

    An interrupt may come to light as another error, where a library was being imported for
    instance.
    """
    if isinstance(error, ModelVaultError):
        return error
    if isinstance(error, KeyboardInterrupt | typer.Abort) or stop.signal is not None:
        return Interrupted(
            "stopped by SIGTERM" if stop.signal == signal.SIGTERM else "stopped",
            hint="run the same command again to go on from here",
        )
    return ModelVaultError(
        f"internal error: {type(error).__name__}: {error}",
        hint="this is a defect: run again with --verbose and report what it prints",
    )


def report(session: Session, error: ModelVaultError) -> int:
    """Tell of an error; return its exit status."""
    session.error(error)
    return error.exit_code
