"""The searches: they find what is best by construction, and never lose to plain rounding."""

import pytest
import torch

from modelvault_converters.awq.formats.packing import quantize, quantize_symmetric
from modelvault_converters.awq.search.compensate import Compensator
from modelvault_converters.awq.search.observe import find_block
from modelvault_converters.awq.search.search import (
    Inputs,
    Rounder,
    Stream,
    round_best,
    search_scales,
)

GROUP = 32
ROUNDERS: list[Rounder] = [
    lambda weight, shrink: quantize(weight, GROUP, shrink),
    lambda weight, shrink: quantize_symmetric(weight, GROUP, shrink),
]


def observe(values: torch.Tensor, blocks: int = 1) -> Inputs:
    """Return what an observer tells of inputs, f32 ``[tokens, in]``."""
    parts = values.reshape(len(values), blocks, -1).transpose(0, 1)
    return Inputs(
        count=len(values),
        magnitude=values.abs().mean(0),
        rows=values[:64],
        products=torch.bmm(parts.transpose(1, 2), parts),
        group=GROUP,
    )


def output_error(inputs: torch.Tensor, weight: torch.Tensor, other: torch.Tensor) -> float:
    """Return the squared error of a linear's outputs over all inputs."""
    return float((inputs @ (other - weight).T).square().sum())


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


def test_lone_loud_channel_is_given_the_larger_factor() -> None:
    """One channel carries all: its rounding error alone counts, and the search protects it."""
    values = torch.randn(200, 64) * 0.01
    values[:, 7] *= 10_000
    stream = Stream(weights=[torch.randn(48, 64)], inputs=observe(values))
    found = search_scales([stream], ROUNDERS[0], lambda x: x)
    assert int(found.scales.argmax()) == 7
    assert found.scales[7] > 3 * found.scales.median()
    assert found.after < found.before / 4


def test_weights_on_the_grid_are_left_alone() -> None:
    """Where plain rounding loses nothing, no factor is better than one."""
    weight = quantize(torch.randn(16, 64), GROUP).dequantize()
    values = torch.randn(100, 64) * torch.linspace(0.1, 5, 64)
    stream = Stream(weights=[weight], inputs=observe(values))
    found = search_scales([stream], ROUNDERS[0], lambda x: x)
    assert torch.equal(found.scales, torch.ones(64))
    assert found.after == found.before < 1e-6


def test_streams_count_by_what_they_saw() -> None:
    """An expert that saw a thousand tokens decides against one that saw ten."""
    loud = torch.randn(1000, 64) * 0.01
    loud[:, 3] *= 1000
    quiet = torch.randn(10, 64) * 0.01
    quiet[:, 50] *= 1000
    weights = torch.randn(2, 48, 64)
    streams = [
        Stream(weights=[weight], inputs=observe(values))
        for weight, values in zip(weights, (loud, quiet))
    ]
    found = search_scales(streams, ROUNDERS[0], lambda x: x)
    assert found.scales[3] > found.scales[50]


@pytest.mark.parametrize("rounder", ROUNDERS)
@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_compensation_beats_plain_rounding_by_far(rounder: Rounder, blocks: int) -> None:
    """Channels that go together make up for each other's errors; zero points or none."""
    values = torch.randn(400, 8) @ torch.randn(8, 128) + 0.3 * torch.randn(400, 128)
    weight = torch.randn(40, 128)
    made = round_best(weight, rounder, Compensator(observe(values, blocks).products))
    plain = rounder(weight, None)
    ours = output_error(values, weight, made.dequantize())
    assert ours < output_error(values, weight, plain.dequantize()) / 2
    assert made.values.shape == plain.values.shape
    assert made.values.dtype == made.zeros.dtype == torch.uint8


@pytest.mark.parametrize("rounder", ROUNDERS)
def test_nothing_is_worse_than_plain_rounding(rounder: Rounder) -> None:
    """For each output channel and block, whatever the inputs: none, one, or few for many."""
    for count in (1, 3, 200):
        values = torch.randn(count, 128) * torch.rand(128) ** 6
        values[:, :40] = 0
        weight = torch.randn(24, 128) ** 3
        compensator = Compensator(observe(values, 2).products)
        made = compensator.error(weight, round_best(weight, rounder, compensator).dequantize())
        plain = compensator.error(weight, rounder(weight, None).dequantize())
        assert (made <= plain * 1.0001 + 1e-9).all()


def test_independent_channels_are_rounded_to_the_nearest() -> None:
    """Without anything in common there is nothing to make up for: the optimum is known."""
    weight = torch.randn(16, 64)
    compensator = Compensator(torch.diag(torch.rand(64) + 0.1).unsqueeze(0))
    plain = quantize(weight, GROUP)
    assert torch.equal(compensator.round(weight, plain).values, plain.values)


def test_second_of_two_equal_channels_makes_up_for_the_first() -> None:
    """Two channels always see the same: only the sum of their weights counts."""
    products = torch.eye(32) * 1e-3
    products[:2, :2] = 1.0
    weight = torch.zeros(1, 32)
    weight[0, :2] = 0.4
    weight[0, 2], weight[0, 3] = 7.0, -8.0  # steps of one
    made = Compensator(products.unsqueeze(0)).round(weight, quantize(weight, GROUP))
    assert made.dequantize()[0, :2].tolist() == [0.0, 1.0]


def test_rounding_is_the_same_every_time_and_in_any_portion() -> None:
    """Deterministic; output channels do not depend on each other."""
    values, weight = torch.randn(300, 128), torch.randn(32, 128)
    rounder, compensator = ROUNDERS[0], Compensator(observe(values, 2).products)
    first, again = (round_best(weight, rounder, compensator) for _ in range(2))
    assert torch.equal(first.values, again.values)
    assert torch.equal(first.scales, again.scales)
    alone = round_best(weight[5:9], rounder, compensator)
    wrong = compensator.error(weight[5:9], alone.dequantize())
    assert torch.allclose(wrong, compensator.error(weight, first.dequantize())[5:9], rtol=0.05)


def test_channels_never_seen_are_rounded_plainly() -> None:
    """An input of zeros tells nothing, and divides nothing by zero."""
    weight = torch.randn(8, 64)
    made = round_best(weight, ROUNDERS[0], Compensator(torch.zeros(2, 32, 32)))
    assert torch.equal(made.values, quantize(weight, GROUP).values)


@pytest.mark.parametrize(
    ("width", "most", "block"),
    [(4096, 512, 512), (14336, 512, 512), (11008, 512, 256), (896, 1024, 896), (4096, 1, 128)],
)
def test_block_is_the_largest_that_divides_the_width(width: int, most: int, block: int) -> None:
    """In whole groups, and one group at least."""
    assert find_block(width, 128, most) == block
