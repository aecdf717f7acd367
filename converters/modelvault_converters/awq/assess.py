"""Whether folders for vLLM could be made of a model, before its weights are there.

Nothing here imports torch: a question is answered in a moment.
"""

from collections.abc import Iterator
from contextlib import ExitStack

from modelvault.core.protocol import Assessed, Event, Request
from modelvault.errors import UnsupportedArchitecture
from modelvault_converters.assessing import require_libraries, require_weights
from modelvault_converters.awq.models.configuration import read_configuration
from modelvault_converters.awq.models.families import find_family
from modelvault_converters.checkpoint import Checkpoint

_LIBRARIES = ("safetensors", "torch", "transformers")


def assess(request: Request, _: ExitStack) -> Iterator[Event]:
    """Yield the targets that can be made: all that are asked about, or none.

    Raises:
        ConverterMissing: A library is not installed.
        ConversionError: The model cannot be converted, as its own class.
        MalformedRecord: The configuration is no JSON object.
    """
    require_libraries(_LIBRARIES)
    source = Checkpoint(request.files)
    config = read_configuration(source)
    names = config.get("architectures")
    architecture = names[0] if isinstance(names, list) and names else ""
    try:
        find_family(str(architecture), "these")
    except UnsupportedArchitecture as error:  # without the list of what is known
        raise UnsupportedArchitecture(
            f"no family of the converter is {architecture!s:.100}"
        ) from error
    require_weights(source, pickles=False)
    yield Assessed(targets=request.targets)
