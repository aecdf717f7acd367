"""Carry out a request: open the source once, make each target of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import torch

from converters.awq.eightbit import FP8, INT8, convert_eight_bit
from converters.awq.model import Model
from converters.awq.quantize import convert_awq
from converters.awq.source import Source
from modelvault.core.protocol import Event, Request
from modelvault.errors import UnsupportedTarget

_TARGETS: dict[str, Callable[[Model, Request, ExitStack], Iterator[Event]]] = {
    "AWQ": convert_awq,
    "FP8": partial(convert_eight_bit, FP8),
    "INT8": partial(convert_eight_bit, INT8),
}


def convert(request: Request, stack: ExitStack) -> Iterator[Event]:
    """Yield the events of a conversion.

    Args:
        request: From the vault.
        stack: Closes what is opened.

    Raises:
        ConversionError: What is refused, as its own class.
    """
    for target in request.targets:
        if target not in _TARGETS:
            raise UnsupportedTarget(
                f"'{target}' is not made here", hint="write --to " + " or --to ".join(_names())
            )
    if request.threads:
        torch.set_num_threads(request.threads)
    source = Source(request.files)
    weights = source.weights(stack)
    for target in request.targets:
        yield from _TARGETS[target](Model.open(source, weights, target), request, stack)


def _names() -> list[str]:
    return [name.lower() for name in _TARGETS]
