"""What every converter asks of a model whose weights are not there yet: names, libraries."""

from collections.abc import Sequence
from importlib.util import find_spec

from modelvault.core.model_files import MODEL_FILE, MODEL_INDEX, WeightFormat, parse_shard
from modelvault.errors import ConverterMissing, UnsupportedSource
from modelvault_converters import pickled
from modelvault_converters.checkpoint import Checkpoint


def require_libraries(names: Sequence[str]) -> None:
    """Check that libraries are installed, without importing them.

    Raises:
        ConverterMissing: One of them is not.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ConverterMissing(f"libraries are missing: {', '.join(missing)}")


def require_weights(source: Checkpoint, *, pickles: bool) -> None:
    """Check that a model has weights under names that are read.

    Args:
        source: The model.
        pickles: Whether PyTorch's own form counts.

    Raises:
        UnsupportedSource: It has not.
    """
    shards = (parse_shard(path) for path in source.weights(WeightFormat.SAFETENSORS))
    if any(shard is not None and shard.stem == "model" for shard in shards):
        return
    known = [MODEL_FILE, MODEL_INDEX, *((pickled.FILE, pickled.INDEX) if pickles else ())]
    if not any(source.has(name) for name in known):
        found = source.weights(*WeightFormat)
        raise UnsupportedSource(
            f"the weights are not in {MODEL_FILE}"
            + (f" but in {found[0]}" if found else ": there are none")
        )
