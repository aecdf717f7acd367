"""Every family comes out far nearer to its source than plain rounding leaves it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

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
    reported = {key: float(result.parameters[f"kl.{key}"]) for key in ("rtn", "awq")}
    assert 0 < ours < plain / 2
    assert 0 < reported["awq"] < reported["rtn"] / 2
    errors = json.loads(result.parameters["layer_errors"])
    assert len(errors) == 2
    assert all(after < before for before, after in errors)
