"""What holds for every test."""

import os
import signal

import pytest
from hypothesis import settings

# The same examples in every run, however long one takes. To look for others:
# HYPOTHESIS_PROFILE=default make test
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """Heed SIGINT: shells start what runs in the background without, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
