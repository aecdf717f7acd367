"""The process around a library: heard, watched over, and never outlived."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelvault.sources.fetch.engine import EngineFailed
from modelvault.sources.fetch.libraries.child import Child, Silent

HANGING = """
import sys, time
from modelvault.sources.fetch.libraries.frames import begin_child
request, reporter = begin_child()
reporter.pulse(1)
time.sleep(600)
"""

PARENT = """
import os, sys
from pathlib import Path
from modelvault.sources.fetch.libraries.child import Child
with Child("hanging", {}, settings={"PYTHONPATH": sys.argv[1]}, window=60.0) as child:
    next(child.frames())
    print(child._process.pid, flush=True)
    os.read(0, 1)
"""


@pytest.fixture
def hanging(tmp_path: Path) -> dict[str, str]:
    """Return settings under which ``python -m hanging`` never ends."""
    (tmp_path / "hanging.py").write_text(HANGING)
    return {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}


def is_running(pid: int) -> bool:
    """Return whether a process lives."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_silent_process_is_killed(hanging: dict[str, str]) -> None:
    """After the window the process is gone."""
    with Child("hanging", {}, settings=hanging, window=1.0) as child:
        pid = child._process.pid
        with pytest.raises(Silent):
            list(child.frames())
        assert is_running(pid)
    assert not is_running(pid)


def test_process_dies_with_its_killed_parent(hanging: dict[str, str]) -> None:
    """Nobody goes on writing into a partial whose lock is free again."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, hanging["PYTHONPATH"]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    while is_running(pid):
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit(3)", "ended with status 3"),
        ("import os; os.kill(os.getpid(), 11)", "killed by signal 11"),
        ("import os, time; os.close(1); time.sleep(600)", "closed its output"),
        ("import os; os.write(1, b'nonsense')", "ended with status 0"),
        ("import os; os.write(1, b'Q' * 9)", "does not keep to the protocol"),
        ("import os; os.write(1, b'E' + b'\\xff' * 8)", "does not keep to the protocol"),
        ("import os; os.write(1, b'E' + bytes(7) + b'\\x08http://a?b')", "http://"),
    ],
)
def test_attack_process_that_misbehaves_is_a_failed_engine(
    tmp_path: Path, program: str, reason: str
) -> None:
    """Whatever it writes or dies of, HTTP takes over."""
    (tmp_path / "misbehaving.py").write_text(program)
    with (
        pytest.raises(EngineFailed, match=reason),
        Child("misbehaving", {}, settings={"PYTHONPATH": str(tmp_path)}, window=60.0) as child,
    ):
        list(child.frames())
