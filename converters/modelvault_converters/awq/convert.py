"""Carry out a request: open the source once, make each target of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import torch

from modelvault.core.protocol import Event, Request
from modelvault.errors import NotEnoughMemory, UnsupportedTarget
from modelvault_converters.awq.eightbit import convert_eight_bit
from modelvault_converters.awq.formats.fourbit import W4A16, Awq
from modelvault_converters.awq.formats.outputs import SHARD
from modelvault_converters.awq.formats.scheme import FP8, INT8
from modelvault_converters.awq.job import Job
from modelvault_converters.awq.models.layers import LayerRunner
from modelvault_converters.awq.models.model import Model
from modelvault_converters.awq.options import CALIBRATED, MEASURED, read_options
from modelvault_converters.awq.quantize import convert_four_bit
from modelvault_converters.checkpoint import Checkpoint

_TARGETS: dict[str, tuple[Callable[[Job], Iterator[Event]], tuple[str, ...]]] = {
    "AWQ": (partial(convert_four_bit, Awq), CALIBRATED),
    "FP8": (partial(convert_eight_bit, FP8), MEASURED),
    "INT8": (partial(convert_eight_bit, INT8), MEASURED),
    "W4A16": (partial(convert_four_bit, W4A16), CALIBRATED),
}
"""What makes each target, and the options it has."""


def convert(request: Request, stack: ExitStack, *, shard: int = SHARD) -> Iterator[Event]:
    """Yield the events of a conversion.

    Args:
        request: From the vault.
        stack: Closes what is opened.
        shard: Bytes of tensors a weight file holds at most, where it holds more than one.

    Raises:
        BadOption: An option is unknown or not acceptable.
        ConversionError: What is refused, as its own class.
    """
    for target in request.targets:
        if target not in _TARGETS:
            names = " or --to ".join(name.lower() for name in _TARGETS)
            raise UnsupportedTarget(f"'{target}' is not made here", hint=f"write --to {names}")
    if len(request.targets) != 1:
        raise UnsupportedTarget(
            "one target at a time: each is a folder with the same file names",
            hint="write --to awq --to fp8, not awq:AWQ and awq:FP8",
        )
    (target,) = request.targets
    make, known = _TARGETS[target]
    options = read_options(request.options, target, known)
    # Also where nothing was asked for: from then on the libraries use that number, always, and
    # not as many as they think fit for each call.
    torch.set_num_threads(request.threads or torch.get_num_threads())
    model = Model.open(Checkpoint(request.files), stack, target)
    runner = LayerRunner(model, options.device)
    runner.check_shapes()  # now, not after hours at the layer that is wrong
    job = Job(runner=runner, request=request, options=options, stack=stack, shard=shard)
    try:
        yield from make(job)
    except torch.OutOfMemoryError as error:
        raise NotEnoughMemory(
            f"memory ran out: {error}"[:500],
            hint="use a shorter --sequence-length, a larger device, or leave --device out",
        ) from error
