"""Whether a model could be converted to GGUF, before its weights are there.

The configuration is read as a conversion reads it: what the family refuses there, it refuses here.
What only weights and tokenizer can tell is left to the conversion.
"""

from collections.abc import Iterator
from contextlib import ExitStack

from modelvault.core.model_files import has_tokenizer
from modelvault.core.protocol import Assessed, Event, Request, Warned
from modelvault.errors import SourceIncomplete, UnsupportedArchitecture
from modelvault_converters.assessing import require_libraries, require_weights
from modelvault_converters.checkpoint import LEFT_OUT, Checkpoint
from modelvault_converters.gguf.families import find_family, read_architecture
from modelvault_converters.gguf.types import TARGETS

_LIBRARIES = ("gguf", "numpy", "sentencepiece", "tokenizers")


def assess(request: Request, _: ExitStack) -> Iterator[Event]:
    """Yield what the model's family has to say, and the types that can be made.

    Raises:
        ConverterMissing: A library is not installed.
        ConversionError: The model cannot be converted, as its own class.
        MalformedRecord: The configuration is no JSON object.
    """
    require_libraries(_LIBRARIES)
    source = Checkpoint(request.files)
    config = source.configuration()
    architecture = read_architecture(config)
    try:
        describe = find_family(config)
    except UnsupportedArchitecture as error:  # without the list of what is known
        raise UnsupportedArchitecture(
            f"no family of the converter is {architecture:.100}", hint=error.hint
        ) from error
    blueprint = describe(config | {"architectures": [architecture]}, {})
    require_weights(source, pickles=True)
    if not has_tokenizer([file.path for file in source]):
        raise SourceIncomplete("the model has no tokenizer that is known", hint=LEFT_OUT)
    for message in blueprint.warnings:
        yield Warned(message=message)
    yield Assessed(targets=tuple(TARGETS))
