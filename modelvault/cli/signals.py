"""Ctrl-C and SIGTERM: when a command may be stopped, and how the process ends then.

Before a command's work begins there is nothing to keep, and after it nothing to undo: an
interrupt ends the process at once. While it works, both signals become a ``KeyboardInterrupt``,
so that everything on the way is closed, and the terminal is left as it was.

Nothing heavy is imported here: it is the first module that the program reads.
"""

import os
import signal
import sys

TYPE_CHECKING = False  # as type checkers know it by name; importing typing would cost more
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType
    from typing import Any, Self

INTERRUPTED = 128 + signal.SIGINT
"""Exit status of a command that Ctrl-C has ended."""

_MOMENT = 0.02
"""Seconds after which an interrupt that was lost comes once more."""


def leave_on_interrupt() -> None:
    """Let Ctrl-C end the process at once; one that is told to ignore it goes on ignoring it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(_number: int, _frame: "FrameType | None") -> None:
    os._exit(INTERRUPTED)


class Stoppable:
    """Lets Ctrl-C and SIGTERM stop the work of a ``with`` block, and tells whether one did.

    An interrupt may come where Python reports exceptions and goes on, in a finaliser for
    instance: then it comes once more. Signals that the process was told to ignore stay ignored.
    """

    def __init__(self) -> None:
        """Begin unasked."""
        self.signal: int | None = None
        """The first signal that came; None while none did."""
        self._before: dict[int, Any] = {}
        self._report: Callable[[Any], Any] = sys.unraisablehook

    def __enter__(self) -> "Self":
        """Begin to listen."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                try:
                    self._before[number] = signal.signal(number, self._stop)
                except ValueError:  # only the main thread may; in another, signals are not ours
                    break
        if self._before:
            self._report, sys.unraisablehook = sys.unraisablehook, self._once_more
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        trace: "TracebackType | None",
    ) -> None:
        """Listen no longer."""
        if self._before:
            sys.unraisablehook = self._report
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _frame: "FrameType | None") -> None:
        if self.signal is None:
            self.signal = number
        raise KeyboardInterrupt

    def _once_more(self, unraisable: "Any") -> None:
        if self.signal is None or not issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._report(unraisable)
            return
        from threading import Timer

        # From another thread, and a moment later: what is raised in here would be lost as well.
        again = Timer(_MOMENT, os.kill, (os.getpid(), self.signal))
        again.daemon = True
        again.start()
