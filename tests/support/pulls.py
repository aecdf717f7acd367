"""What the tests of pulling share: a hub, a vault, and a pull as the command does it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelvault.app.pull import Pulled, plan_pull, pull
from modelvault.app.sources import SourceOptions, choose_source
from modelvault.app.vault import Vault
from modelvault.core.ports import Silence
from tests.support.hub.hub import LoopbackHub


def forget_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let neither the environment nor the home folder give a token or an endpoint."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))


@contextmanager
def open_vault(root: Path) -> Iterator[Vault]:
    """Yield the vault in ``root``, made where there is none."""
    with Vault.open(root, create=True) as vault:
        yield vault


def pull_from(
    hub: LoopbackHub,
    vault: Vault,
    reference: str,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Pulled:
    """Pull a reference from the hub."""
    source = choose_source(reference, SourceOptions(endpoint=hub.endpoint))
    plan = plan_pull(source, vault.store.paths, include=include, exclude=exclude)
    return pull(vault, plan, Silence())
