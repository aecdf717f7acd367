"""Run a converter in a child process and hear what it says.

Converters are found by entry point (group ``modelvault.converters``; the value names a
module that ``python -m`` runs) and never imported: their memory, their crashes and their
libraries stay in the child. The vault and the child speak ``modelvault.core.protocol``.

A child whose parent is killed dies at its next event, when it writes to a closed pipe.
"""

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import IO

from modelvault import errors
from modelvault.core.protocol import Event, Failed, Request, parse_event
from modelvault.distribution import install_command
from modelvault.errors import ConverterCrashed, ConverterMissing, ModelVaultError

_log = logging.getLogger(__name__)

GROUP = "modelvault.converters"
_LONGEST_EVENT = 1024 * 1024
_CRASH_TAIL = 2000
_MOST_ANSWERS = 100
"""Events of an answer that are heard."""

Command = list[str]


def find_converter(name: str) -> Command:
    """Return the command line that runs the converter ``name``.

    Raises:
        ConverterMissing: No installed package provides it.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise ConverterMissing(
            f"there is no converter '{name}' (installed: {known})",
            hint="choose one of these, such as --to gguf:Q4_K_M",
        )
    return _command(found[name])


def list_converters() -> dict[str, tuple[Command, tuple[str, ...]]]:
    """Return every module that converts, with its command line and the converters it serves."""
    served: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        served.setdefault(entry.module, []).append(entry)
    return {
        module: (_command(entries[0]), tuple(sorted(entry.name for entry in entries)))
        for module, entries in sorted(served.items())
    }


def ask_converter(command: Command, request: Request, *, seconds: float) -> Iterator[Event]:
    """Yield a converter's answer to a question; ``Failed`` is raised, not yielded.

    Args:
        command: From ``list_converters``.
        request: The question (``ask_only``).
        seconds: Time to answer in.

    Raises:
        ConversionError: What the converter refuses, as its own class.
        ConverterCrashed: It did not answer, not in time, or not in the protocol.
    """
    try:
        done = subprocess.run(
            command,
            input=request.encode(),
            capture_output=True,
            timeout=seconds,
            env=_environment(),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConverterCrashed(f"the converter does not answer ({type(error).__name__})") from error
    for line in done.stdout.splitlines()[:_MOST_ANSWERS]:
        event = parse_event(line)
        if isinstance(event, Failed):
            raise failure(event, extra=extra_of(command))
        yield event
    if done.returncode != 0:
        raise ConverterCrashed(f"the converter {_death(done.returncode)}")


def _environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def _command(entry: EntryPoint) -> Command:
    return [sys.executable, "-P", "-m", entry.module]


def run_converter(command: Command, request: Request) -> Iterator[Event]:
    """Run a conversion and yield its events; ``Failed`` is raised, not yielded.

    The child is killed when the iteration is abandoned.

    Args:
        command: From ``find_converter``.
        request: What to do.

    Raises:
        ConversionError: What the converter refuses, as its own class.
        ConverterCrashed: The child died, or did not speak the protocol.
    """
    # Standard error goes to a file: a pipe that this process does not empty would block the child.
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=_environment(),
        )
        began = time.monotonic()
        _log.info("process %d begins: %s", child.pid, " ".join(command))
        with child:
            try:
                yield from _converse(child, request, extra=extra_of(command))
                status = child.wait()
            except BaseException as error:
                child.kill()
                _log.info("process %d is killed: %s", child.pid, type(error).__name__)
                raise
        _log.info(
            "process %d ends with status %d after %.3f s",
            child.pid,
            status,
            time.monotonic() - began,
        )
        for line in _tail(complaints):
            _log.debug("process %d said: %s", child.pid, line)
        if status != 0:
            raise ConverterCrashed(
                f"the converter {_death(status)}",
                hint="if memory ran out, free some; else report this with the lines above",
                issues=_tail(complaints),
            )


def extra_of(command: Command) -> str:
    """Return the extra that brings a converter's libraries: it is named like its module."""
    return command[-1].rpartition(".")[2]


def _converse(child: "subprocess.Popen[bytes]", request: Request, *, extra: str) -> Iterator[Event]:
    if child.stdin is None or child.stdout is None:
        raise ConverterCrashed("the converter has no pipes")
    try:
        child.stdin.write(request.encode())
        child.stdin.close()
    except BrokenPipeError:
        return  # its exit status says why
    while line := child.stdout.readline(_LONGEST_EVENT):
        event = parse_event(line)
        if isinstance(event, Failed):
            raise failure(event, extra=extra)
        yield event


def failure(event: Failed, *, extra: str) -> ModelVaultError:
    """Return the error that a ``Failed`` event stands for.

    Args:
        event: What the converter said.
        extra: What brings its libraries; a converter does not know how it was installed.
    """
    kind = getattr(errors, event.error, None)
    if not (isinstance(kind, type) and issubclass(kind, ModelVaultError)):
        kind = ConverterCrashed
    hint = event.hint
    if kind is ConverterMissing and not hint:
        hint = install_command(extra)
    return kind(event.message, hint=hint, issues=event.issues)


def _death(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"


def _tail(file: IO[bytes]) -> list[str]:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _CRASH_TAIL))
    return file.read().decode("utf-8", "replace").splitlines()
