"""A vault with a small model, and converters that tests write."""

from pathlib import Path

import pytest

from tests.conversion.converter import Install, installer, make_vault


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """Return a vault that holds a small model."""
    return make_vault(tmp_path / "vault")


@pytest.fixture
def converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that makes ``--to fake`` run the given program."""
    return installer(tmp_path, monkeypatch)
