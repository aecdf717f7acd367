"""How far a checkpoint of eight bits is from its source, before it is written.

Held-out text passes through the source and through the result, layer by layer. The result is
computed as a server does: weights and activations are both rounded to eight bits.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain

import torch

from modelvault.core.protocol import Stepped
from modelvault_converters.awq.capacity import Work, require_memory, require_space
from modelvault_converters.awq.formats.scheme import EightBit
from modelvault_converters.awq.job import Job
from modelvault_converters.awq.progress import StepReporter
from modelvault_converters.awq.report.activations import Activations
from modelvault_converters.awq.report.passage import Passage, shape_of
from modelvault_converters.awq.report.quality import SOURCE, compare_predictions
from modelvault_converters.awq.text.calibration import read_calibration

_ADVICE = "try --to fp8 where it was int8, --to awq, or a larger --max-kl"


def check_eight_bit(scheme: EightBit, job: Job) -> Generator[Stepped, None, dict[str, str]]:
    """Compare a result with its source; yield the steps, return the report.

    Args:
        scheme: Type of the result.
        job: Names the text and the limit; its folder is empty, before and after.

    Raises:
        BadOption: The text is not acceptable.
        NoSpace: The activations do not fit on the disk.
        NotEnoughMemory: A layer does not fit in memory.
        UnsupportedTokenizer: The model's tokenizer cannot be used.
        CheckFailed: The result is further off than allowed.
    """
    model, options, own = job.model, job.options, scheme.target.lower()
    runner = job.runner
    text = read_calibration(model, options, runner.longest, job.folder, calibrate=False)
    sets = dict.fromkeys((SOURCE, own), text.held_out)
    shape = shape_of(model, text.held_out)
    require_space(job.folder, len(sets) * Activations.footprint(shape))
    require_memory(Work.of(runner, shape[1]), options.device)
    report = StepReporter(scheme.target, model.layers)
    with ExitStack() as stack:
        passage = Passage(model, runner, sets, job.folder, stack)
        passage.embed()
        passage.turn()
        for number in range(model.layers):
            state = runner.read(number)
            layer = runner.load(number, state)
            yield from report.parts(passage.run(layer, SOURCE))
            names = list(chain.from_iterable(group.linears for group in model.groups(number)))
            for name in names:
                weight = state[f"{name}.weight"]
                weight.copy_(scheme.restore(weight))
            with _rounding(layer, names, scheme.restore):
                yield from report.parts(passage.run(layer, own))
            passage.turn()
            yield report.end_layer()
        quality = compare_predictions(model, passage.sets, text.held_out, options.device)
        passage.remove()
    quality.require(own, options.max_kl, _ADVICE)
    chosen = {"check_text": text.held_out_digest} if text.held_out_digest else {}
    return {**quality.encode(), **chosen}


@contextmanager
def _rounding(
    layer: torch.nn.Module, names: list[str], restore: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[None]:
    """Round what enters linears, within the block."""
    handles = [
        layer.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs: (restore(inputs[0]), *inputs[1:])
        )
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
