"""A terminal for the commands under test: a real pseudo-terminal, and what a person sees on it."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


def cells_of(text: str) -> int:
    """Return how many cells a text takes; told by the standard library, not by the product."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


class Screen:
    """What stands on a terminal's screen: as much of a VT100 as progress bars use."""

    def __init__(self, columns: int, lines: int) -> None:
        """Begin with an empty screen.

        Args:
            columns: Cells of a line.
            lines: How many there are.
        """
        self.columns = columns
        self._height = lines
        self._cells: list[list[str]] = [[" "] * columns for _ in range(lines)]
        self._row = self._column = 0
        self.cursor_hidden = False
        self.wrapped = 0
        """How often a line was too long and went on in the next."""

    @property
    def text(self) -> list[str]:
        """The lines that are not empty, top to bottom."""
        lines = ["".join(row).rstrip() for row in self._cells]
        return [line for line in lines if line]

    def feed(self, text: str) -> None:
        """Take what a program writes."""
        position = 0
        while position < len(text):
            if found := _SEQUENCE.match(text, position):
                self._obey(found[1], found[2])
                position = found.end()
                continue
            self._write(text[position])
            position += 1

    def _obey(self, numbers: str, command: str) -> None:
        count = int(numbers) if numbers.isdigit() else 1
        if command == "A":
            self._row = max(0, self._row - count)
        elif command == "K":
            start = 0 if numbers == "2" else self._column
            self._cells[self._row][start:] = [" "] * (self.columns - start)
        elif command == "G":
            self._column = count - 1
        elif numbers == "?25":
            self.cursor_hidden = command == "l"
        elif command not in "mhl":
            raise AssertionError(f"the screen does not know CSI {numbers}{command}")

    def _write(self, char: str) -> None:
        if char == "\r":
            self._column = 0
        elif char == "\n":
            self._feed_line()
        else:
            width = cells_of(char)
            if self._column + width > self.columns:
                self.wrapped += 1
                self._feed_line()
                self._column = 0
            if width:
                self._cells[self._row][self._column] = char
                if width == 2:
                    self._cells[self._row][self._column + 1] = ""
            self._column += width

    def _feed_line(self) -> None:
        if self._row + 1 < self._height:
            self._row += 1
        else:
            self._cells = [*self._cells[1:], [" "] * self.columns]


class Transcript(Screen):
    """A screen on which nobody looks: for programs that draw more than a ``Screen`` knows."""

    def feed(self, text: str) -> None:
        """Take what a program writes, and show none of it."""


class Terminal:
    """A program on a pseudo-terminal, with its screen."""

    def __init__(self, process: "subprocess.Popen[bytes]", master: int, screen: Screen) -> None:
        """Show what a process writes; ``open_terminal`` starts it.

        Args:
            process: On the other side of the terminal.
            master: Our side.
            screen: Fed with what comes.
        """
        self.process = process
        self.screen = screen
        self.written = ""
        """Everything that came."""
        self._master = master

    def wait_until(self, condition: Callable[[], bool], *, timeout: float = 60) -> None:
        """Read until a condition holds; fails where the program ends, or takes too long."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, self.written
            if not self._read(0.2):
                assert condition(), self.written
                return

    def finish(self, *, timeout: float = 60) -> int:
        """Read to the end; return the exit status."""
        deadline = time.monotonic() + timeout
        while self._read(0.2):
            assert time.monotonic() < deadline, self.written
        return self.process.wait(timeout=timeout)

    def send(self, number: int) -> None:
        """Send a signal to the program."""
        self.process.send_signal(number)

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._master, text.encode())

    def _read(self, seconds: float) -> bool:
        """Take what comes within some seconds; return whether more may come."""
        if not select.select([self._master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux: the other side has closed
            return False
        text = data.decode("utf-8", "replace")
        self.written += text
        self.screen.feed(text)
        return bool(data)


@contextlib.contextmanager
def open_terminal(
    command: Sequence[str | Path],
    *,
    columns: int = 80,
    lines: int = 24,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    screen: type[Screen] = Screen,
) -> Iterator[Terminal]:
    """Run a program on a terminal for the block; killed where it is still there at the end.

    Args:
        command: The program and its arguments.
        columns: Cells of a line.
        lines: How many lines there are.
        environment: Of the program, as a whole; None for ours.
        cwd: Where it runs.
        screen: What shows it.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    variables = {**(os.environ if environment is None else environment)}
    variables = {"TERM": "xterm", "LANG": "C.UTF-8", "NO_COLOR": "1", **variables}
    for name in ("COLUMNS", "LINES"):
        variables.pop(name, None)
    with subprocess.Popen(
        ["setsid", "--ctty", *(str(item) for item in command)],  # the terminal becomes its own
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=variables,
        cwd=cwd,
    ) as process:
        os.close(slave)
        try:
            yield Terminal(process, master, screen(columns, lines))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            os.close(master)
