"""What was measured of a result, read from records that may come from anywhere."""

import json

import pytest

from modelvault.app.conversion.measured import PLAIN, RESULT, SOURCE, is_summed_up, read_measured
from modelvault.cli.documents.document import encode
from modelvault.cli.documents.quality import Quality
from modelvault.cli.lines.quality import figures_line, layer_lines

REPORT = {
    "perplexity.source": "8.1",
    "perplexity.rtn": "9.5",
    "perplexity.w4a16": "8.3",
    "kl.rtn": "0.12",
    "kl.w4a16": "0.03",
    "layer_errors": "[[0.01, 0.004], [0.02, 0]]",
}


def test_report_of_four_bits_is_read() -> None:
    """Source, plain rounding and result, whatever the type is called."""
    measured = read_measured(REPORT)
    assert measured.perplexity == {SOURCE: 8.1, PLAIN: 9.5, RESULT: 8.3}
    assert measured.divergences == {PLAIN: 0.12, RESULT: 0.03}
    assert measured.divergence == 0.03
    assert [(layer.plain, layer.result) for layer in measured.layers] == [(0.01, 0.004), (0.02, 0)]
    assert figures_line(measured) == (
        "perplexity source 8.1, plain rounding 9.5, result 8.3; "
        "divergence plain rounding 0.12, result 0.03 nats a token"
    )


def test_report_of_gguf_is_read() -> None:
    """Its check names the figures otherwise."""
    check = {"check_perplexity": "9", "check_reference_perplexity": "8", "check_kl": "0.1"}
    assert figures_line(read_measured(check)) == (
        "perplexity source 8, result 9; divergence result 0.1 nats a token"
    )


def test_layers_stand_in_a_table_and_in_json() -> None:
    """Layer by layer, from 1 as progress counts them, with the share of plain rounding."""
    measured = read_measured(REPORT)
    assert [line.split() for line in layer_lines(measured)[1:]] == [
        ["1", "0.01", "0.004", "40%"],
        ["2", "0.02", "0", "0%"],
    ]
    document = encode(Quality.of(measured))
    assert document["layers"][1] == {"layer": 2, "rtn": 0.02, "result": 0}
    assert document["kl"] == {"rtn": 0.12, "result": 0.03}
    assert [key for key in REPORT if not is_summed_up(key)] == []


def test_nothing_measured_is_nothing_shown() -> None:
    """Neither a line nor a table."""
    measured = read_measured({"type": "FP8"})
    assert (measured.divergence, figures_line(measured), layer_lines(measured)) == (None, "", [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100_000,
        "{}",
        "[1, 2]",
        "[[1]]",
        "[[1, 2, 3]]",
        '[["a", "b"]]',
        "[[NaN, 1]]",
        "[[Infinity, 1]]",
        "[[true, false]]",
        f"[[{'9' * 5000}, 1]]",
        json.dumps([[0.1, 0.1]] * 100_000),
    ],
)
def test_attack_record_with_nonsense_for_layers_shows_none(text: str) -> None:
    """A record is anyone's text: no traceback, no endless table."""
    assert read_measured({"layer_errors": text}).layers == ()


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "x", "", "1e999"])
def test_attack_record_with_nonsense_for_figures_shows_none(text: str) -> None:
    """Only finite numbers are figures."""
    measured = read_measured({"kl.awq": text, "perplexity.source": text, "check_kl": text})
    assert (measured.divergence, dict(measured.perplexity)) == (None, {})
