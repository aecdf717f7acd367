"""``config.json`` of a model that can be quantised; read before torch is there."""

from typing import Any

from modelvault.errors import UnsupportedSource
from modelvault_converters.checkpoint import Checkpoint


def read_configuration(source: Checkpoint) -> dict[str, Any]:
    """Return the configuration of a model that can be quantised.

    Raises:
        MalformedRecord: It is no JSON object.
        SourceIncomplete: There is none.
        UnsupportedSource: The model is quantised already, or an adapter.
    """
    config = source.configuration()
    for key in ("quantization_config", "compression_config"):
        if (told := config.get(key)) is not None:
            method = told.get("quant_method") if isinstance(told, dict) else None
            raise UnsupportedSource(
                "the model is already quantised" + (f" ({method!s:.40})" if method else ""),
                hint="convert the publisher's 16-bit model instead",
            )
    return config
