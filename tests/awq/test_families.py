"""Every family comes out far nearer to its source than plain rounding leaves it."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from modelvault.core.protocol import Request
from modelvault_converters.awq.options import read_options
from modelvault_converters.awq.text.calibration import read_calibration
from tests.awq.models import open_model
from tests.awq.running import make_request, produced, run
from tests.awq.weights import TEXT, dequantize, plainly
from tests.support.trainedmodel import FAMILIES, Family, divergence, encode, load, logits

Trained = Callable[[Family], Path]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_beats_plain_rounding_by_far(
    family: Family, trained: Trained, corpus: Path, tmp_path: Path
) -> None:
    """The divergence from the source is less than half of plain rounding's."""
    source = trained(family)
    request = make_request(source, "AWQ", tmp_path, calibration=str(corpus), samples="32")
    result = produced(run(request))
    assert (result.format, result.quantization) == ("safetensors", "AWQ")
    tokens = encode(source, TEXT)[None]
    expected = logits(source, tokens, load(source))
    plain = divergence(expected, logits(source, tokens, plainly(source)))
    ours = divergence(expected, logits(tmp_path, tokens, dequantize(tmp_path)))
    assert 0 < ours < plain / 2
    reported = {key: float(result.parameters[f"kl.{key}"]) for key in ("rtn", "awq")}
    assert 0 < reported["awq"] < reported["rtn"] / 2
    measured = _measure(request, source, tmp_path)
    assert measured["kl.awq"] == pytest.approx(reported["awq"], rel=0.02)
    for name in ("source", "awq"):
        told = float(result.parameters[f"perplexity.{name}"])
        assert measured[f"perplexity.{name}"] == pytest.approx(told, rel=1e-3)
    errors = json.loads(result.parameters["layer_errors"])
    assert len(errors) == 2
    assert all(after < before for before, after in errors)


def _measure(request: Request, source: Path, made: Path) -> dict[str, float]:
    """Return what whole models in transformers predict for the held-out text."""
    with ExitStack() as stack:
        options = read_options(request.options, "AWQ", request.options)
        folder = Path(stack.enter_context(TemporaryDirectory()))
        held = read_calibration(open_model(source, stack), options, 512, folder).held_out
    tokens = torch.stack(list(held))
    states = {"source": load(source), "awq": dequantize(made)}
    found = {name: logits(source, tokens, state)[:, :-1] for name, state in states.items()}
    return {
        "kl.awq": divergence(found["source"], found["awq"]),
        **{
            f"perplexity.{name}": float(
                torch.nn.functional.cross_entropy(values.flatten(0, 1), tokens[:, 1:].flatten())
                .exp()
                .double()
            )
            for name, values in found.items()
        },
    }
