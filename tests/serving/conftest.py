"""A folder for programs that run as nobody."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def public() -> Iterator[Path]:
    """Return an empty folder that every account may read: pytest's own are for one."""
    folder = Path(tempfile.mkdtemp(prefix="modelvault-public-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
