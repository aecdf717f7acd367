"""AWQ folders: far nearer to the source than plain rounding, and packed as servers read them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modelvault.app.conversion.options import Target
from modelvault.core.protocol import Laid, Planned, Warned
from modelvault.errors import (
    BadOption,
    MalformedWeights,
    SourceIncomplete,
    UnsupportedSource,
    UnsupportedTokenizer,
)
from modelvault_converters.awq import quantize as quantize_module
from modelvault_converters.awq.formats.packing import pack, quantize, unpack
from tests.awq.running import edit_config, make_request, produced, run
from tests.awq.weights import TEXT, Tensors, dequantize
from tests.support.trainedmodel import Family, divergence, encode, load, logits, train_model

Trained = Callable[[Family], Path]


@pytest.fixture(scope="module")
def made(trained: Trained, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the AWQ folder of the Llama."""
    folder = tmp_path_factory.mktemp("made")
    run(make_request(trained("llama"), "AWQ", folder, calibration=str(corpus), samples="32"))
    return folder


def _reversed_nibbles(tensors: Tensors) -> None:
    for name in [name for name in tensors if name.endswith(".qweight")]:
        values = unpack(tensors[name]).unflatten(1, (-1, 8))
        tensors[name] = pack(values[..., [0, 4, 1, 5, 2, 6, 3, 7]].flatten(1))


def _shifted_zeros(tensors: Tensors) -> None:
    for name in [name for name in tensors if name.endswith(".qzeros")]:
        tensors[name] = pack((unpack(tensors[name]) + 1).clamp(max=15))


@pytest.mark.parametrize("harm", [_reversed_nibbles, _shifted_zeros])
def test_wrong_packing_is_caught_by_the_comparison(
    harm: Callable[[Tensors], None], trained: Trained, made: Path, tmp_path: Path
) -> None:
    """The negative controls: nibbles in another order, zero points off by one."""
    from safetensors.torch import save_file

    source = trained("llama")
    tokens = encode(source, TEXT)[None]
    expected = logits(source, tokens, load(source))
    right = divergence(expected, logits(made, tokens, dequantize(made)))
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    tensors = load(made)
    harm(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    wrong = divergence(expected, logits(tmp_path, tokens, dequantize(tmp_path)))
    assert wrong > 20 * right


def test_packing_is_the_layout_that_servers_read() -> None:
    """Nibbles hold columns 0, 2, 4, 6, 1, 3, 5, 7, from the lowest bits on."""
    values = torch.arange(8, dtype=torch.uint8)[None]
    assert int(pack(values).item()) & 0xFFFFFFFF == 0x75316420
    top = torch.full((3, 16), 15, dtype=torch.uint8)
    assert torch.equal(pack(top), torch.full((3, 2), -1, dtype=torch.int32))
    assert torch.equal(unpack(pack(top)), top)


@pytest.mark.parametrize("low", [-1.0, 0.5, -3.0])
def test_rounding_errs_by_half_a_step_at_most(low: float) -> None:
    """Also where all weights of a group lie on one side of zero."""
    torch.manual_seed(1)
    weight = torch.rand(16, 256) + low
    quantized = quantize(weight, 128)
    wrong = (quantized.dequantize() - weight).abs().unflatten(1, (-1, 128)).amax(-1)
    assert (wrong <= quantized.scales.float() * 1.02).all()
    assert torch.equal(quantize(torch.zeros(8, 32), 32).dequantize(), torch.zeros(8, 32))


def test_result_holds_what_a_server_reads(trained: Trained, made: Path) -> None:
    """Names, types, shapes and configuration are those of AWQ, version gemm."""
    tensors = load(made)
    name = "model.layers.1.mlp.down_proj"
    shapes = {part: tensors[f"{name}.{part}"].shape for part in ("qweight", "qzeros", "scales")}
    assert shapes == {"qweight": (256, 16), "qzeros": (2, 16), "scales": (2, 128)}
    assert tensors[f"{name}.qweight"].dtype == tensors[f"{name}.qzeros"].dtype == torch.int32
    assert {value.dtype for value in tensors.values()} == {torch.int32, torch.float16}
    config = json.loads((made / "config.json").read_text())
    assert config["dtype"] == "float16"
    assert config["quantization_config"] == {
        "quant_method": "awq",
        "bits": 4,
        "group_size": 128,
        "zero_point": True,
        "version": "gemm",
        "modules_to_not_convert": None,
    }
    assert (made / "tokenizer.json").read_bytes() == (
        trained("llama") / "tokenizer.json"
    ).read_bytes()


def test_same_seed_gives_the_same_bytes_and_report(
    trained: Trained, made: Path, corpus: Path, tmp_path: Path
) -> None:
    """Deterministic; planned sizes are what is written, beside what a new run may need."""
    request = make_request(trained("llama"), "AWQ", tmp_path, calibration=str(corpus), samples="32")
    events = run(request)
    name = "model.safetensors"
    assert (tmp_path / name).read_bytes() == (made / name).read_bytes()
    (plan,) = [event for event in events if isinstance(event, Planned)]
    assert plan.size == sum(value.nbytes for value in load(tmp_path).values())
    rest = {path.name for path in tmp_path.iterdir()} - set(produced(events).files)
    assert rest == {"resume.json", *(name for name in rest if name.endswith(".activations"))}


def test_plan_needs_no_calibration_and_writes_nothing(trained: Trained, tmp_path: Path) -> None:
    """A dry run tells the size."""
    events = run(make_request(trained("llama"), "AWQ", tmp_path, plan_only=True))
    assert [type(event) for event in events] == [Planned, Laid]
    assert list(tmp_path.iterdir()) == []


def test_smaller_groups_are_taken_where_128_does_not_divide(
    trained: Trained, tmp_path: Path
) -> None:
    """The largest group that divides every linear's inputs; the embedded text calibrates."""
    folder = tmp_path / "narrow"
    train_model(folder, steps=1, intermediate=160, tied=True)
    result = produced(run(make_request(folder, "AWQ", tmp_path / "out", sequence_length="64")))
    assert result.parameters["group_size"] == "32"
    assert result.parameters["sequence_length"] == "64"
    tensors = load(tmp_path / "out")
    assert tensors["model.layers.0.mlp.down_proj.scales"].shape == (5, 128)
    tokens = encode(folder, TEXT)[None]
    expected = logits(folder, tokens, load(folder))
    found = logits(tmp_path / "out", tokens, dequantize(tmp_path / "out"))
    assert divergence(expected, found) < 0.05
    with pytest.raises(UnsupportedSource, match="128"):
        run(make_request(folder, "AWQ", tmp_path / "no", group_size="128"))


@pytest.mark.parametrize(("width", "what"), [(144, "inputs"), (132, "outputs")])
def test_odd_shapes_are_refused_by_name(width: int, what: str, tmp_path: Path) -> None:
    """Neither padding nor a silent exception: FP8 takes such a model."""
    folder = tmp_path / "odd"
    train_model(folder, steps=1, intermediate=width)
    with pytest.raises(UnsupportedSource, match=what) as caught:
        run(make_request(folder, "AWQ", tmp_path / "out"))
    assert "fp8" in caught.value.hint


def test_search_that_hardly_helps_is_warned_of(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that is no nearer than plain rounding is told as such, and what to try."""
    request = make_request(trained("llama"), "AWQ", tmp_path / "a", sequence_length="32")
    assert [event for event in run(request) if isinstance(event, Warned)] == []
    monkeypatch.setattr(quantize_module, "_HARDLY", 0.0)
    request = make_request(trained("llama"), "AWQ", tmp_path / "b", sequence_length="32")
    (warning,) = [event for event in run(request) if isinstance(event, Warned)]
    assert "the search has hardly helped" in warning.message


def test_quantised_source_is_refused(made: Path, tmp_path: Path) -> None:
    """Quantising twice would lose twice."""
    with pytest.raises((UnsupportedSource, SourceIncomplete)):
        run(make_request(made, "AWQ", tmp_path))


@pytest.mark.parametrize("text", ["", "too short", "\n\n"])
def test_too_short_calibration_is_refused(text: str, trained: Trained, tmp_path: Path) -> None:
    """Scales from a handful of words would be noise."""
    path = tmp_path / "short.txt"
    path.write_text(text)
    with pytest.raises(BadOption, match="too short"):
        run(make_request(trained("llama"), "AWQ", tmp_path / "out", calibration=str(path)))


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"other": 1}', '{"messages": [{"role": 1}]}', '{"text": 3}', "[" * 100000]
)
def test_malformed_calibration_line_is_refused_with_its_number(
    line: str, trained: Trained, tmp_path: Path
) -> None:
    """The message names file and line."""
    path = tmp_path / "set.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(BadOption, match=r"set\.jsonl:2"):
        run(make_request(trained("llama"), "AWQ", tmp_path / "out", calibration=str(path)))


def test_conversations_take_the_models_own_form(trained: Trained, tmp_path: Path) -> None:
    """JSON lines of both kinds are read; another text is another digest."""
    digests = set()
    for number in range(2):
        path = tmp_path / f"set{number}.jsonl"
        talk = [{"role": "user", "content": TEXT * 8}, {"role": "assistant", "content": "네."}]
        records = [{"messages": talk}, {"text": TEXT * (8 + number)}]
        path.write_text("\n".join(json.dumps(record) for record in records))
        request = make_request(
            trained("llama"), "AWQ", tmp_path / f"out{number}", calibration=str(path)
        )
        digests.add(produced(run(request)).parameters["calibration"])
    assert len(digests) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"samples": "0"},
        {"samples": "-1"},
        {"samples": "many"},
        {"samples": "9" * 30},
        {"group_size": "48"},
        {"seed": "1.5"},
        {"calibration": "/nonexistent"},
    ],
)
def test_bad_option_is_refused(options: dict[str, Any], trained: Trained, tmp_path: Path) -> None:
    """Bounds are checked before anything is read or made."""
    with pytest.raises(BadOption):
        run(make_request(trained("llama"), "AWQ", tmp_path, **options))


def test_missing_tokenizer_is_refused(trained: Trained, tmp_path: Path) -> None:
    """Calibration needs it."""
    folder = Path(shutil.copytree(trained("llama"), tmp_path / "copy"))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedTokenizer):
        run(make_request(folder, "AWQ", tmp_path / "out"))


def test_weights_that_do_not_fit_the_configuration_are_refused(
    trained: Trained, tmp_path: Path
) -> None:
    """The layer's own code says what it needs."""
    folder = Path(shutil.copytree(trained("llama"), tmp_path / "copy"))
    edit_config(folder, intermediate_size=512)
    with pytest.raises(SourceIncomplete, match="layer 0"):
        run(make_request(folder, "AWQ", tmp_path / "out"))


@pytest.mark.parametrize("changes", [{"num_attention_heads": 0}, {"rope_parameters": 7}])
def test_attack_nonsense_configuration_is_refused(
    changes: dict[str, object], trained: Trained, tmp_path: Path
) -> None:
    """Whatever the libraries make of it, it ends as one clear error."""
    folder = Path(shutil.copytree(trained("llama"), tmp_path / "copy"))
    edit_config(folder, **changes)
    with pytest.raises((UnsupportedSource, SourceIncomplete)):
        run(make_request(folder, "AWQ", tmp_path / "out"))


def test_weights_beyond_f16_are_refused_with_a_way_out(trained: Trained, tmp_path: Path) -> None:
    """AWQ kernels compute in f16; FP8 takes such a model."""
    from safetensors.torch import save_file

    folder = Path(shutil.copytree(trained("llama"), tmp_path / "copy"))
    tensors = load(folder)
    tensors["lm_head.weight"][0, 0] = 1e6
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(MalformedWeights, match="lm_head") as caught:
        run(make_request(folder, "AWQ", tmp_path / "out"))
    assert "fp8" in caught.value.hint


def test_single_type_needs_no_name() -> None:
    """--to awq is enough; the variant is :AWQ."""
    assert Target.parse("awq") == Target(converter="awq", type="AWQ")
