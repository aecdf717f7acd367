"""One vLLM for the whole run, and the folders that it serves.

What is skipped here was not tested: where ``MODELVAULT_REQUIRE_ALL`` is set, a skip fails the
run.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import astuple

import pytest

from tests.served.agreement import Agreement
from tests.served.bench import Bench
from tests.served.engine import Engine
from tests.served.journey import Journey
from tests.support.needs import require

_MEASURED = pytest.StashKey[dict[str, Agreement]]()


@pytest.fixture(scope="session")
def python() -> str:
    """Return a Python that has vLLM."""
    python = os.environ.get("MODELVAULT_VLLM", sys.executable)
    probe = ["-c", "import importlib.util as u; raise SystemExit(u.find_spec('vllm') is None)"]
    try:
        found = subprocess.run([python, *probe], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        found = False
    if not found:
        require("vLLM (MODELVAULT_VLLM names its Python; make test-vllm makes it)")
    return python


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """Return the maker of installed folders."""
    return Journey(tmp_path_factory.mktemp("journey"))


@pytest.fixture(scope="session")
def engine(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Return vLLM, with kernels lent for experts."""
    with Engine(python, tmp_path_factory.mktemp("engine"), lend_kernels=True) as engine:
        yield engine


@pytest.fixture(scope="session")
def own_kernels(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Return vLLM as it is."""
    with Engine(python, tmp_path_factory.mktemp("own")) as engine:
        yield engine


@pytest.fixture(scope="session")
def bench(journey: Journey, engine: Engine, pytestconfig: pytest.Config) -> Bench:
    """Return what serves and compares; what it measures is printed at the end."""
    return Bench(journey, engine, pytestconfig.stash.setdefault(_MEASURED, {}))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what was measured."""
    measured = config.stash.get(_MEASURED, {})
    if measured:
        terminalreporter.section("vLLM's predictions beside others, nats")
        names = "  ".join(f"{name:>10}" for name in Agreement.__slots__)
        terminalreporter.write_line(f"{'':36}{names}")
    for title, agreement in measured.items():
        values = "  ".join(f"{value:10.6f}" for value in astuple(agreement))
        terminalreporter.write_line(f"{title:36}{values}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that skipped something where everything must be there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("MODELVAULT_REQUIRE_ALL") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
