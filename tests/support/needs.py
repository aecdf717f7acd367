"""What a test needs beyond Python: skipped where it is missing, failed where it must not be.

``MODELVAULT_REQUIRE_ALL`` is set wherever a skip would hide that something was not tested.
"""

import os
from typing import NoReturn

import pytest


def require(what: str) -> NoReturn:
    """Skip the test for want of ``what``, or fail it where everything must be there."""
    if os.environ.get("MODELVAULT_REQUIRE_ALL"):
        pytest.fail(f"this machine lacks {what}, and MODELVAULT_REQUIRE_ALL is set")
    pytest.skip(f"this machine lacks {what}")
