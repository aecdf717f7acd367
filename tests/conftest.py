"""What holds for every test."""

import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """Heed SIGINT: shells start what runs in the background without, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
