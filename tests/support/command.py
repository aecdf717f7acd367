"""Run the real ``modelvault`` command in a process of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.schemas import check_output
from tests.support.terminal import Terminal, open_terminal

_INHERITED = ("PATH", "LANG", "TMPDIR", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command did."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The JSON document on standard output."""
        return json.loads(self.stdout)

    def ok(self) -> "Outcome":
        """Return itself, after asserting success."""
        assert self.status == 0, f"exit {self.status}\n{self.stdout}\n{self.stderr}"
        return self


_OTHER_MOUNTS = """
from pathlib import Path

from modelvault.bundle.medium import mounts

mounts.MOUNT_TABLE = Path({table!r})
"""
"""Loaded when a command's Python starts."""


def only_mounted(folder: Path, *points: Path) -> dict[str, str]:
    """Return variables under which a command sees these mounts of the host and no others.

    Whatever else is mounted on the machine of the tests, an ``import`` without a folder must not
    find it.

    Args:
        folder: Where to put the table, as the kernel writes it.
        points: Mount points.
    """
    table = folder / "mountinfo"
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines(True)
    seen = [line for line in lines if Path(line.split(" ")[4]) in points]
    assert len(seen) == len(points)
    folder.mkdir(parents=True, exist_ok=True)
    table.write_text("".join(seen), errors="surrogateescape")
    (folder / "sitecustomize.py").write_text(_OTHER_MOUNTS.format(table=str(table)))
    return {"PYTHONPATH": str(folder)}


_OTHER_MEDIA = """
from modelvault.bundle.medium import mounts

mounts.MEDIA_FOLDERS = (Path({media!r}),)
"""


def imitated_media(folder: Path, media: Path, *points: Path) -> dict[str, str]:
    """Return variables under which a command takes ``media`` for where media are mounted.

    Args:
        folder: Where to put the table, as the kernel writes it.
        media: What stands for ``/media``, ``/run/media`` and ``/mnt``.
        points: Where a medium seems to be mounted; everything else is the root disk.
    """
    lines = ["1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"]
    lines += [f"2 1 8:17 / {point} rw - vfat /dev/sdb1 rw\n" for point in points]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mountinfo").write_text("".join(lines))
    (folder / "sitecustomize.py").write_text(
        _OTHER_MOUNTS.format(table=str(folder / "mountinfo"))
        + _OTHER_MEDIA.format(media=str(media))
    )
    return {"PYTHONPATH": str(folder)}


class Site:
    """One side of the air gap: a home folder, a vault, a clean environment."""

    def __init__(self, home: Path, *, prefix: Sequence[str] = (), **environment: str) -> None:
        """Make the site.

        Args:
            home: HOME of its commands; the vault is ``home/.modelvault``.
            prefix: Command to run everything under, such as ``unshare -n``.
            environment: Further variables.
        """
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.vault = home / ".modelvault"
        self.prefix = tuple(prefix)
        self._environment = {
            **{name: os.environ[name] for name in _INHERITED if name in os.environ},
            "HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            **environment,
        }

    def start(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        """Start a command and return at once."""
        return self._start("-m", "modelvault", *arguments)

    def _start(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self.prefix, sys.executable, *map(str, arguments)],
            env=self._environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def on_terminal(
        self, *arguments: str | Path, columns: int = 80, lines: int = 24
    ) -> AbstractContextManager[Terminal]:
        """Start a command on a terminal of its own; enter what is returned.

        Args:
            *arguments: The command's.
            columns: Cells of a line.
            lines: How many lines there are.
        """
        command = [*self.prefix, sys.executable, "-m", "modelvault", *arguments]
        return open_terminal(
            command, columns=columns, lines=lines, environment=self._environment, cwd=self.home
        )

    def run(self, *arguments: str | Path, timeout: float = 300) -> Outcome:
        """Run a command to its end; what ``--json`` printed is held against its schema."""
        done = self.run_python("-m", "modelvault", *arguments, timeout=timeout)
        check_output([str(item) for item in arguments], done.stdout, done.stderr)
        return done

    def run_python(self, *arguments: str | Path, timeout: float = 300) -> Outcome:
        """Run Python where commands run, a script of the user's for instance, to its end."""
        with self._start(*arguments) as process:
            stdout, stderr = process.communicate(timeout=timeout)
        return Outcome(status=process.returncode, stdout=stdout, stderr=stderr)

    def kill_when(
        self, condition: Callable[[], bool], *arguments: str | Path, timeout: float = 60
    ) -> bool:
        """Start a command and SIGKILL it once ``condition`` holds.

        Returns:
            Whether it was killed; False when it ended first.
        """
        deadline = time.monotonic() + timeout
        with self.start(*arguments) as process:
            while process.poll() is None and time.monotonic() < deadline:
                if condition():
                    process.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.002)
            process.communicate(timeout=30)
        return process.returncode == -signal.SIGKILL


def closed_site(home: Path, **environment: str) -> Site:
    """Return a site whose commands have no network, not even loopback.

    The kernel sees to it, for their children, too. Where this account may not make network
    namespaces, the site is like others, and elsewhere the tests have shown that it needs none.

    Args:
        home: As for ``Site``.
        environment: Further variables.
    """
    for prefix in (["unshare", "--net"], ["unshare", "--map-current-user", "--net"]):
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0:
                return Site(home, prefix=prefix, **environment)
    return Site(home, **environment)
