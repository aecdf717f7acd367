"""Whether a model can be converted is known before it is fetched."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelvault.app.conversion import assess as asking
from modelvault.app.conversion.assess import Convertible, assess
from modelvault.app.pull import plan_pull
from modelvault.app.sources import SourceOptions, choose_source
from modelvault.core.protocol import Assessed, Event, Failed, Request, SourceFile
from modelvault.store.paths import VaultPaths
from modelvault_converters import assessing
from modelvault_converters.awq.__main__ import serve as serve_awq
from modelvault_converters.gguf.__main__ import serve as serve_gguf
from tests.support.hub.hub import LoopbackHub
from tests.support.pulls import forget_token

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FOLDERS = ("awq", "fp8", "int8", "w4a16")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """Return a running hub."""
    forget_token(monkeypatch, tmp_path)
    with LoopbackHub() as hub:
        yield hub


def ask(
    hub: LoopbackHub, tmp_path: Path, files: dict[str, bytes] | None = None, **config: object
) -> dict[str, Convertible]:
    """Return what converters say of a model with this configuration, by their names."""
    contents = {
        "config.json": json.dumps(CONFIG | config).encode(),
        "model.safetensors": b"weights",
        "tokenizer.json": b"{}",
    }
    hub.add("acme/tiny", contents if files is None else files)
    source = choose_source("acme/tiny", SourceOptions(endpoint=hub.endpoint))
    plan = plan_pull(source, VaultPaths(tmp_path / "vault"), include=(), exclude=())
    hub.journal.clear()
    found = {item.converter: item for item in assess(plan)}
    assert not any(request.path.endswith(".safetensors") for request in hub.journal.requests())
    return found


def test_known_model_is_told_with_every_target(hub: LoopbackHub, tmp_path: Path) -> None:
    """By the configuration alone: no weight is asked for."""
    found = ask(hub, tmp_path)
    assert {"Q4_K_M", "F16", "Q8_0"} <= {*found["gguf"].targets}
    assert [found[name].targets for name in FOLDERS] == [(name.upper(),) for name in FOLDERS]


def test_unknown_model_is_told_with_the_reason(hub: LoopbackHub, tmp_path: Path) -> None:
    """In a line, without the list of everything that is known."""
    found = ask(hub, tmp_path, architectures=["HyperCLOVAXForCausalLM"])
    assert {item.targets for item in found.values()} == {()}
    assert all("HyperCLOVAXForCausalLM" in item.reason for item in found.values())
    assert all(len(item.reason) < 200 and item.installed for item in found.values())


def test_configuration_that_one_converter_refuses_is_told_of_it_alone(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    """What a family refuses when it converts, it refuses now."""
    found = ask(hub, tmp_path, architectures=["Qwen2ForCausalLM"], rope_scaling=LLAMA3)
    assert found["gguf"].targets == ()
    assert "llama3" in found["gguf"].reason
    assert found["awq"].targets == ("AWQ",)


def test_quantised_model_is_told(hub: LoopbackHub, tmp_path: Path) -> None:
    """Converting it again would lose what is left."""
    found = ask(hub, tmp_path, quantization_config={"quant_method": "gptq"})
    assert all("quantised" in item.reason for item in found.values())


@pytest.mark.parametrize(
    "files",
    [
        {"m-Q4_K_M.gguf": b"GGUF", "config.json": b"{}"},
        {"adapter_config.json": b"{}", "adapter_model.safetensors": b"x", "config.json": b"{}"},
        {"model.safetensors": b"x"},
        {"config.json": b"{}", "tokenizer.json": b"{}"},
        {"config.json": b" " * 2_000_000, "model.safetensors": b"x"},
    ],
    ids=["gguf", "adapter", "no configuration", "no weights", "endless configuration"],
)
def test_what_is_no_model_to_convert_is_not_asked_about(
    hub: LoopbackHub, tmp_path: Path, files: dict[str, bytes]
) -> None:
    """Nothing is said where there is nothing to say."""
    assert ask(hub, tmp_path, files) == {}


def test_hostile_configuration_is_refused_by_the_converter_alone(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    """Attack: JSON without end, and texts that are none; the pull goes on."""
    for config in (b"[" * 100_000, b"\xff", b'{"architectures": {"a": 1}}', b"7"):
        found = ask(hub, tmp_path, {"config.json": config, "model.safetensors": b"x"})
        assert {item.targets for item in found.values()} == {()}


def test_converter_that_does_not_answer_is_passed_over(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash, silence or nonsense of a converter is no business of a pull."""
    commands = {
        "crashes": [sys.executable, "-c", "raise SystemExit(3)"],
        "hangs": [sys.executable, "-c", "import time; time.sleep(60)"],
        "babbles": [sys.executable, "-c", "print('no event')"],
        "absent": ["/nonexistent/python"],
    }
    monkeypatch.setattr(asking, "_SECONDS", 1.0)
    monkeypatch.setattr(
        asking,
        "list_converters",
        lambda: {name: (line, (name,)) for name, line in commands.items()},
    )
    assert ask(hub, tmp_path) == {}


def request(*, targets: tuple[str, ...] = ("GGUF",), names: tuple[str, ...] = ()) -> Request:
    """Return a question about files that are not there."""
    files = names or ("model.safetensors", "tokenizer.json")
    return Request(
        model="acme/tiny",
        revision="",
        license="",
        files=tuple(SourceFile(path=name, location="", size=9) for name in files),
        targets=targets,
        output="",
        ask_only=True,
    )


def answer(serve: Any, asked: Request, tmp_path: Path) -> list[Event]:
    """Return a converter's answer, with the configuration where the request says."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    config = SourceFile(path="config.json", location=str(path), size=path.stat().st_size)
    whole = dataclasses.replace(asked, files=(*asked.files, config))
    return list(serve(whole.encode()))


def test_missing_library_is_told_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no extra installed learns that, and nothing of the model."""
    monkeypatch.setattr(assessing, "find_spec", lambda _: None)
    for serve in (serve_gguf, serve_awq):
        (failed,) = answer(serve, request(), tmp_path)
        assert isinstance(failed, Failed)
        assert failed.error == "ConverterMissing"


def test_files_that_are_needed_are_looked_for_by_name(tmp_path: Path) -> None:
    """Weights and tokenizer, of every form that is read."""
    (done,) = answer(serve_gguf, request(), tmp_path)
    assert isinstance(done, Assessed)
    pickled = ("pytorch_model.bin", "vocab.json", "merges.txt")
    assert isinstance(answer(serve_gguf, request(names=pickled), tmp_path)[-1], Assessed)
    (failed,) = answer(serve_gguf, request(names=("model.safetensors",)), tmp_path)
    assert isinstance(failed, Failed)
    assert "tokenizer" in failed.message
    (failed,) = answer(serve_awq, request(names=pickled), tmp_path)
    assert isinstance(failed, Failed)
    assert "pytorch_model.bin" in failed.message


def test_question_costs_no_heavy_import() -> None:
    """Neither torch nor transformers: an answer comes in a moment."""
    program = (
        "import sys\n"
        "import modelvault_converters.awq.assess, modelvault_converters.gguf.assess\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_conversion_is_asked_for_as_ever() -> None:
    """A converter that knows no questions reads every other request."""
    assert b"ask_only" not in dataclasses.replace(request(), ask_only=False).encode()
