"""Kill a process at each durable step of an action, one run a step.

A durable step is a call that orders bytes on disk: fsync, fdatasync, syncfs, rename, replace,
symlink, link, unlink, rmdir, or a database commit. The action runs in a forked child that dies
of SIGKILL right before its n-th step; n grows until the action gets through. Dying before step
n is also dying after step n - 1, so every state between two steps is met.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

# Here, not in the child: imported once, not once for every step.
from sqlalchemy import event
from sqlalchemy.engine import Engine

from modelvault.fsio import flushing

_STEPS = ("fsync", "fdatasync", "rename", "replace", "link", "symlink", "unlink", "rmdir")
_MOST_STEPS = 500


def kill_points(action: Callable[[], object]) -> Iterator[int]:
    """Run ``action`` again and again, killed one step later each time.

    Yields:
        The number of the step before which the child died. The caller checks what it left
        on disk and restores the starting state before it asks for the next.

    Raises:
        AssertionError: The action failed by itself, or has more steps than are sensible.
    """
    for number in range(1, _MOST_STEPS):
        status = _run_child(action, number)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            yield number
            continue
        assert os.WEXITSTATUS(status) == 0, f"the action failed by itself (step {number})"
        assert number > 1, "the action has no durable step"
        return
    raise AssertionError(f"more than {_MOST_STEPS} durable steps")


def _run_child(action: Callable[[], object], number: int) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _arm(number)
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def _arm(number: int) -> None:
    left = number

    def step(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            step()
            return original(*arguments, **options)

        return call

    for name in _STEPS:
        setattr(os, name, counted(getattr(os, name)))
    flushing.sync_file_system = counted(flushing.sync_file_system)
    event.listen(Engine, "commit", step)
