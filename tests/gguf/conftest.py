"""Tiny models, made once a session and copied where a test changes them."""

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tests.support.tinymodel import Kind, make_tiny_llama

VECTORS = Path(__file__).parent.parent / "vectors" / "gguf"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Path]:
    """Return a function that gives the folder of a tiny model, read-only by agreement."""
    made: dict[str, Path] = {}

    def make(kind: Kind) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("tiny") / f"tiny-{kind}"
            make_tiny_llama(made[kind], kind=kind, shards=3 if kind == "bpe" else 1)
        return made[kind]

    return make


@pytest.fixture
def model(tiny: Callable[[Kind], Path], tmp_path: Path) -> Path:
    """Return a tiny BPE model of three shards that the test may change."""
    return Path(shutil.copytree(tiny("bpe"), tmp_path / "tiny"))


@pytest.fixture
def spm_model(tiny: Callable[[Kind], Path], tmp_path: Path) -> Path:
    """Return a tiny SentencePiece model of one file that the test may change."""
    return Path(shutil.copytree(tiny("spm"), tmp_path / "tiny-spm"))


@pytest.fixture(scope="session")
def vector(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that unpacks a model of the vectors."""

    def unpack(name: str) -> Path:
        folder = tmp_path_factory.mktemp("vectors")
        packed = VECTORS / "models" / f"{name}.tar.zst"
        with (
            open(packed, "rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            archive.extractall(folder, filter="data")
        return folder / name

    return unpack
