"""The check after a conversion: real numbers of real llama.cpp, and refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modelvault.core.protocol import Failed, Produced
from modelvault.errors import BadOption, CheckFailed
from modelvault_converters.gguf.__main__ import serve
from modelvault_converters.gguf.check.measure import WINDOW, log_softmax
from modelvault_converters.gguf.check.runtime import Model
from modelvault_converters.gguf.check.text import TEXT
from tests.gguf.running import convert, make_request, plan, run
from tests.support import llamacpp
from tests.support.tinybert import make_tiny_bert
from tests.support.tinymodel import Kind

LONG = "The old lighthouse keeper counted the ships before the storm came in. " * 24


def checked(
    folder: Path, targets: list[str], output: Path, **options: str
) -> dict[str, dict[str, str]]:
    """Return target → parameters of a checked conversion."""
    events = run(make_request(folder, targets, output, options={"check": "yes", **options}))
    return {e.target: dict(e.parameters) for e in events if isinstance(e, Produced)}


def test_measures_are_those_of_the_logits(tiny: Callable[[Kind], Path], tmp_path: Path) -> None:
    """Perplexity, divergence and agreement equal what another reader of llama.cpp computes."""
    text = tmp_path / "text.txt"
    text.write_text(LONG)
    made = checked(tiny("bpe"), ["F32", "Q3_K_S"], tmp_path / "out", check_text=str(text))
    rows = {}
    for target in ("F32", "Q3_K_S"):
        with llamacpp.Model.load(tmp_path / "out" / f"tiny-bpe-{target}.gguf") as model:
            ids = model.tokenize(LONG, parse_special=False)
            windows = [ids[start : start + WINDOW] for start in range(0, len(ids), WINDOW)]
            rows[target] = [model.logits(window).astype(np.float64) for window in windows]
    own, divergence, same = [], [], []
    for window, full, small in zip(windows, rows["F32"], rows["Q3_K_S"]):
        one, other = (x - np.log(np.exp(x).sum(1, keepdims=True)) for x in (full, small))
        count = len(window) - 1
        own += [-other[at, window[at + 1]] for at in range(count)]
        divergence += list((np.exp(one) * (one - other)).sum(1)[:count])
        same += list((one.argmax(1) == other.argmax(1))[:count])
    found = made["Q3_K_S"]
    assert found["check_tokens"] == str(len(ids))
    assert len(windows) > 1
    assert float(found["check_perplexity"]) == pytest.approx(np.exp(np.mean(own)), rel=2e-3)
    assert float(found["check_kl"]) == pytest.approx(np.mean(divergence), rel=1e-2)
    assert float(found["check_same_top"]) == pytest.approx(np.mean(same), abs=2e-3)


def test_fewer_bits_are_further_off(tiny: Callable[[Kind], Path], tmp_path: Path) -> None:
    """The reference is made for the check alone and removed; the order is that of the bits."""
    made = checked(tiny("spm"), ["Q8_0", "Q4_K_M", "Q2_K"], tmp_path)
    distances = [float(made[name]["check_kl"]) for name in ("Q8_0", "Q4_K_M", "Q2_K")]
    assert distances == sorted(distances)
    assert distances[0] < 0.01 < distances[2]
    assert {made[name]["check_reference"] for name in made} == {"BF16"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"tiny-spm-{name}.gguf" for name in ("Q2_K", "Q4_K_M", "Q8_0")
    ]


def test_reference_of_the_same_run_is_not_compared_with_itself(
    tiny: Callable[[Kind], Path], tmp_path: Path
) -> None:
    """It loads, speaks and has its perplexity; the others name it as what they stand beside."""
    made = checked(tiny("bpe"), ["F16", "Q8_0"], tmp_path)
    assert "check_kl" not in made["F16"]
    assert made["Q8_0"]["check_reference"] == "F16"
    assert made["Q8_0"]["check_reference_perplexity"] == made["F16"]["check_perplexity"]
    assert made["F16"]["check_answer"]


def test_result_beyond_the_limit_is_refused_and_removed(
    tiny: Callable[[Kind], Path], tmp_path: Path
) -> None:
    """--max-kl: the good result is kept, the bad one is named with its number."""
    request = make_request(tiny("bpe"), ["Q8_0", "Q2_K"], tmp_path, options={"max_kl": "0.02"})

    events = list(serve(request.encode()))
    assert [event.target for event in events if isinstance(event, Produced)] == ["Q8_0"]
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert failed.error == CheckFailed.__name__
    assert failed.message.startswith("Q2_K diverges ")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-bpe-Q8_0.gguf"]


def test_file_that_llama_cpp_refuses_fails_the_check(
    tiny: Callable[[Kind], Path], tmp_path: Path
) -> None:
    """A truncated file is reported with the runtime's own words."""
    path = convert(tiny("bpe"), "F16", tmp_path)
    path.write_bytes(path.read_bytes()[:-4096])
    with pytest.raises(CheckFailed, match="does not load") as caught:
        Model(path, threads=1)
    assert any("file bounds" in line for line in caught.value.issues)


def test_weights_that_overflow_fail_the_check(tiny: Callable[[Kind], Path], tmp_path: Path) -> None:
    """Negative control: a file that loads and computes nonsense is caught by its logits."""
    path = convert(tiny("bpe"), "F32", tmp_path)
    data = bytearray(path.read_bytes())
    data[-4096:] = np.full(1024, np.nan, dtype="<f4").tobytes()
    path.write_bytes(data)
    with Model(path, threads=1) as model, pytest.raises(CheckFailed, match="NaN"):
        list(model.logits([1, 2, 3]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff\xfe", "UTF-8"), (b"a\0b", "not a text"), (b"too short", "tokens")],
    ids=["bytes", "zero", "short"],
)
def test_unfit_text_is_refused(
    tiny: Callable[[Kind], Path], tmp_path: Path, content: bytes, reason: str
) -> None:
    """A text that is none, or that says too little, is the command line's fault."""
    text = tmp_path / "text"
    text.write_bytes(content)
    with pytest.raises(BadOption, match=reason):
        checked(tiny("bpe"), ["F16"], tmp_path / "out", check_text=str(text))


@pytest.mark.parametrize("limit", ["x", "nan", "-1", "inf"])
def test_unfit_limit_is_refused(tiny: Callable[[Kind], Path], limit: str) -> None:
    """The limit is a number of nats."""
    with pytest.raises(BadOption, match="--max-kl"):
        plan(tiny("bpe"), "F16", max_kl=limit)


def test_built_in_text_is_long_enough_and_of_many_scripts() -> None:
    """Every script of the warning about languages is in it."""
    for first, last in (
        ("가", "힣"),
        ("ぁ", "ん"),
        ("一", "龯"),
        ("\u0430", "\u044f"),
        ("\u0627", "\u064a"),
    ):
        assert sum(first <= char <= last for char in TEXT) > 20
    assert len(TEXT) > 1500


def test_log_softmax_survives_large_logits() -> None:
    """Nothing overflows where logits are far from zero."""
    rows = np.array([[1000.0, 999.0], [-1000.0, -1000.0]], dtype=np.float32)
    assert np.exp(log_softmax(rows)).sum(axis=1) == pytest.approx([1, 1])


@pytest.mark.parametrize("plan_only", [True, False])
def test_encoder_is_refused_before_a_byte_is_written(tmp_path: Path, plan_only: bool) -> None:
    """A model that embeds texts predicts none: there is nothing to compare."""
    make_tiny_bert(tmp_path / "bert")
    output = tmp_path / "out"
    request = make_request(
        tmp_path / "bert", ["F16"], output, options={"check": "yes"}, plan_only=plan_only
    )
    with pytest.raises(BadOption, match="embeds or ranks texts, and predicts none") as caught:
        run(request)
    assert "embeddings" in caught.value.hint
    assert list(output.iterdir()) == []
