"""Models trained once a session."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.tinymodel import training_text
from tests.support.trainedmodel import Family, train_model


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Matrices this small gain nothing from more, and lose much on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Family], Path]:
    """Return the maker of trained models; a test copies what it changes."""
    made: dict[Family, Path] = {}

    def get(family: Family = "llama") -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp("trained") / family
            train_model(folder, family=family, tied=family.startswith("gemma"))
            made[family] = folder
        return made[family]

    return get


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a calibration file of what the models were trained on."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n".join(training_text()), encoding="utf-8")
    return path
