"""Ctrl-C at any moment: while Python reads modules, while a command works, while it ends."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SLOW_IMPORT = """
import importlib.abc, os, signal, sys, time

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.{signal})
            time.sleep(5)
        return None

sys.meta_path.insert(0, Slow())
from modelvault.cli.main import main
sys.argv = ["modelvault", {arguments}]
main()
"""


def interrupted_at(
    name: str, *arguments: str, by: str = "SIGINT"
) -> "subprocess.CompletedProcess[str]":
    """Run a command that gets a signal when it imports a module."""
    script = SLOW_IMPORT.format(name=name, signal=by, arguments=", ".join(map(repr, arguments)))
    return subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "name",
    ["typer", "modelvault.cli.program", "modelvault.cli.commands.list", "modelvault.app.vault"],
)
def test_interrupt_during_imports_ends_quietly(name: str) -> None:
    """Status 130 and no traceback, whichever module is being read."""
    ended = interrupted_at(name, "list", "--vault", "/nowhere")
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.parametrize("name", ["sqlalchemy", "sqlalchemy.orm.decl_api", "alembic.command"])
def test_interrupt_while_a_command_reads_modules_is_told(name: str, tmp_path: Path) -> None:
    """A library that is being imported does not make a defect of it."""
    ended = interrupted_at(name, "key", "generate", "--vault", str(tmp_path / "vault"))
    assert ended.returncode == 130
    assert ended.stderr.splitlines() == [
        "error: stopped [Interrupted]",
        "hint: run the same command again to go on from here",
    ]


def carried_out(body: str) -> "subprocess.CompletedProcess[str]":
    """Run a body as a command's work, in a process of its own."""
    script = (
        "import os, signal, sys, time\n"
        "from modelvault.cli.outcome import carry_out\n"
        "from modelvault.cli.session import Session\n"
        f"def work():\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        "sys.exit(carry_out(Session(), 'modelvault x', work))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60
    )


def test_interrupt_that_python_wraps_in_another_error_is_still_one() -> None:
    """Python makes a RuntimeError of what is raised while a class gives its members names."""
    ended = carried_out(
        """
        class Member:
            def __set_name__(self, owner, name):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
        class Owner:
            member = Member()
        """
    )
    assert ended.returncode == 130
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith("error: stopped [Interrupted]")


def test_interrupt_in_a_finaliser_is_not_lost() -> None:
    """Python prints and forgets what a finaliser raises; the command stops all the same."""
    ended = carried_out(
        """
        class Closing:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
        closing = Closing()
        del closing
        time.sleep(5)
        """
    )
    assert ended.returncode == 130
    assert ended.stderr.splitlines()[0] == "error: stopped [Interrupted]"


def test_sigterm_stops_as_an_interrupt_does() -> None:
    """Everything on the way is closed, and the message says which it was."""
    ended = carried_out(
        """
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            print("closed")
        """
    )
    assert (ended.returncode, ended.stdout) == (130, "closed\n")
    assert ended.stderr.startswith("error: stopped by SIGTERM [Interrupted]")


def test_signal_that_the_process_was_told_to_ignore_stays_ignored() -> None:
    """Under nohup, and in the background of a script, Ctrl-C is another program's."""
    script = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from modelvault.cli import signals\n"
        "signals.leave_on_interrupt()\n"
        "with signals.Stoppable() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "print(stop.signal)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert ended.stdout == "None\n"


def test_handlers_are_given_back() -> None:
    """A program that runs a command line keeps its own ways with signals."""
    script = (
        "import signal\n"
        "from modelvault.cli.main import run\n"
        "before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]\n"
        "run(['list', '--vault', '/nowhere'])\n"
        "assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
