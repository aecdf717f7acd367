"""What the tests of sources share: a hub on loopback, an empty store, no token of this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelvault.store.blobs import Store
from tests.support.hub.hub import LoopbackHub


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a running loopback hub."""
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store.create(tmp_path / "vault")


@pytest.fixture
def no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no token and no endpoint come from this machine."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
