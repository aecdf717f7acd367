"""The converter as a process: its events, its refusals, and what it leaves on disk."""

import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from modelvault import conversion
from modelvault.core.ggml import GgmlType
from modelvault.core.protocol import (
    Advanced,
    Event,
    Failed,
    Planned,
    Produced,
    Request,
    Warned,
    parse_event,
)
from modelvault.distribution import install_command
from modelvault.errors import ConverterCrashed, NoSpace, PermissionRefused, StorageError
from modelvault_converters import process
from modelvault_converters.gguf.__main__ import serve
from modelvault_converters.gguf.convert import convert
from modelvault_converters.gguf.families import find_family
from modelvault_converters.gguf.quantize import quantizer_versions
from modelvault_converters.gguf.tokenizer.pretokenizer import flatten
from tests.gguf.running import edit_json, make_request, plan, run
from tests.support.tinymodel import Kind


def speak(request: bytes, *options: str) -> tuple[list[Event], str]:
    """Return the events of a real child process, and what it complained of."""
    done = subprocess.run(
        [sys.executable, *options, "-m", "modelvault_converters.gguf"],
        input=request,
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return [parse_event(line) for line in done.stdout.splitlines()], done.stderr.decode()


def test_process_plans_advances_and_produces(tiny: Callable[[Kind], Path], tmp_path: Path) -> None:
    """One request for two types: two plans, then two files of exactly the planned sizes."""
    events, complaints = speak(make_request(tiny("bpe"), ["Q8_0", "F16"], tmp_path).encode())
    planned = [event for event in events if isinstance(event, Planned)]
    produced = [event for event in events if isinstance(event, Produced)]
    assert complaints == ""
    assert [event.target for event in planned] == ["Q8_0", "F16"]
    assert [event.files for event in produced] == [
        ("tiny-bpe-Q8_0.gguf",),
        ("tiny-bpe-F16.gguf",),
    ]
    assert [(tmp_path / event.files[0]).stat().st_size for event in produced] == [
        event.size for event in planned
    ]
    assert {event.target for event in events if isinstance(event, Advanced)} == {"Q8_0", "F16"}
    assert produced[0].format == "gguf"
    assert produced[0].quantization == "Q8_0"
    assert set(produced[0].tools) == {"numpy", *quantizer_versions({GgmlType.Q8_0})}
    assert set(produced[1].tools) == {"numpy"}
    assert produced[0].parameters["pre_tokenizer"] == "llama-bpe"


def test_progress_grows_to_the_planned_size(tiny: Callable[[Kind], Path], tmp_path: Path) -> None:
    """Written bytes never shrink and never exceed what was planned."""
    with ExitStack() as stack:
        events = list(convert(make_request(tiny("bpe"), ["F16"], tmp_path), stack))
    (size,) = [event.size for event in events if isinstance(event, Planned)]
    done = [event.done for event in events if isinstance(event, Advanced)]
    assert done == sorted(done)
    assert size - 32 * 22 <= done[-1] <= size  # padding between tensors is not counted


def test_refusal_is_one_event_and_no_traceback(model: Path, tmp_path: Path) -> None:
    """What is refused ends the process in good order."""
    (model / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    events, complaints = speak(make_request(model, ["F16"], tmp_path / "out").encode())
    (failed,) = events
    assert isinstance(failed, Failed)
    assert failed.error == "UnsupportedArchitecture"
    assert complaints == ""


def test_missing_library_is_told(tmp_path: Path, model: Path) -> None:
    """Without numpy the refusal says so; the remedy is the vault's to add."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text("raise ModuleNotFoundError('no numpy')")
    done = subprocess.run(
        [sys.executable, "-m", "modelvault_converters.gguf"],
        input=make_request(model, ["F16"], tmp_path / "out").encode(),
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    failed = parse_event(done.stdout)
    assert isinstance(failed, Failed)
    assert failed.error == "ConverterMissing"
    assert "no numpy" in failed.message
    assert failed.hint == ""
    assert conversion.failure(failed, extra="gguf").hint == install_command("gguf")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"protocol": 99}', b"\xff"], ids=repr)
def test_bad_request_is_refused(data: bytes) -> None:
    """What is not a request of this protocol is one Failed event."""
    (failed,) = serve(data)
    assert isinstance(failed, Failed)
    assert failed.error == ConverterCrashed.__name__


def test_attack_with_endless_nesting_is_refused(model: Path, tmp_path: Path) -> None:
    """Where a file is parsed but too deep to walk, the process still ends in good order."""
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"type": "Sequence", "pretokenizers": [deep]}

    def walk(request: Request, _: ExitStack) -> Iterator[Event]:
        assert list(flatten(deep))
        yield Warned(message=request.model)

    data = make_request(model, ["F16"], tmp_path / "out").encode()
    (failed,) = process.serve(data, lambda: walk)
    assert isinstance(failed, Failed)
    assert (failed.error, failed.message) == (
        "MalformedRecord",
        "a file of the model is nested without end",
    )


def test_plan_writes_nothing_and_needs_no_quantizer(model: Path) -> None:
    """A plan tells the exact size and leaves the output folder empty."""
    (event,) = [event for event in plan(model, "Q4_K_M") if isinstance(event, Planned)]
    assert event.tensors == 22
    assert event.parameters == 1_705_248


def test_too_small_disk_is_told_before_the_first_byte(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sum of all results is compared with the free space."""
    real = os.statvfs(tmp_path)
    full = os.statvfs_result((*real[:4], 100, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    with pytest.raises(NoSpace, match="are free") as caught:
        run(make_request(model, ["F16", "BF16"], tmp_path / "out"))
    assert "fewer types" in caught.value.hint
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_disk_that_fills_up_leaves_no_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A write that fails half-way removes what was begun, names the reason and the remedy."""
    calls = iter(range(1000))

    def fail(descriptor: int, data: memoryview, offset: int) -> int:
        if next(calls) > 20:
            raise OSError(number, os.strerror(number))
        return len(data)

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(NoSpace, match=os.strerror(number)) as caught:
        run(make_request(model, ["F16", "Q8_0"], tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []
    assert "free some space" in caught.value.hint


def test_existing_file_is_not_overwritten(model: Path, tmp_path: Path) -> None:
    """The output folder is empty by contract; what stands there stays."""
    request = make_request(model, ["F16"], tmp_path / "out")
    (tmp_path / "out" / "tiny-F16.gguf").write_text("mine")
    with pytest.raises(StorageError, match="File exists"):
        run(request)
    assert (tmp_path / "out" / "tiny-F16.gguf").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_unreadable_source_is_refused(model: Path, tmp_path: Path) -> None:
    """The operating system's refusal names the file."""
    (model / "config.json").chmod(0)
    with pytest.raises(PermissionRefused, match=r"config\.json"):
        run(make_request(model, ["F16"], tmp_path / "out"))


def test_abandoned_conversion_leaves_no_file(model: Path, tmp_path: Path) -> None:
    """When nobody listens any more, what was begun is removed."""
    with ExitStack() as stack:
        events = convert(make_request(model, ["F16"], tmp_path / "out"), stack)
        next(event for event in events if isinstance(event, Advanced))
        assert list((tmp_path / "out").iterdir()) != []
        events.close()
    assert list((tmp_path / "out").iterdir()) == []


def test_standard_output_belongs_to_the_protocol(
    tiny: Callable[[Kind], Path], tmp_path: Path
) -> None:
    """What a library prints lands on standard error."""
    program = (
        "import sys, os, modelvault_converters.gguf.convert as c\n"
        "real = c.make_plan\n"
        "def noisy(*a):\n    print('noise'); os.write(1, b'more noise\\n'); return real(*a)\n"
        "c.make_plan = noisy\n"
        "from modelvault_converters.gguf.__main__ import main\n"
        "sys.exit(main())\n"
    )
    request = make_request(tiny("spm"), ["F16"], tmp_path, plan_only=True)
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=request.encode(),
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == [
        "planned",
        "laid",
    ]
    assert b"more noise" in done.stderr


def test_dead_vault_stops_the_converter(model: Path, tmp_path: Path) -> None:
    """When the reading end closes, the process ends and removes what it had begun."""
    child = subprocess.Popen(
        [sys.executable, "-m", "modelvault_converters.gguf"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdout.close()
    child.stdin.write(make_request(model, ["F16"], tmp_path / "out").encode())
    child.stdin.close()
    assert child.wait(60) == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_memory_stays_flat_for_a_large_model(model: Path, tmp_path: Path) -> None:
    """800 MB of weights pass through less than 200 MB of memory."""
    for path in model.glob("model*"):
        path.unlink()
    wide = {"hidden_size": 1024, "intermediate_size": 131072, "num_hidden_layers": 1}
    edit_json(model / "config.json", lambda config: config.update(**wide, num_attention_heads=16))
    write_zeros(model)
    program = (
        "import sys; from modelvault_converters.gguf.__main__ import main\n"
        "status = main()\n"
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print(next(line for line in lines if line.startswith('VmHWM')), file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=make_request(model, ["Q8_0", "Q4_0"], tmp_path / "out").encode(),
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()[-2:]] == ["produced"] * 2
    assert int(done.stderr.split()[1]) < 200_000  # kB


def write_zeros(folder: Path) -> None:
    """Write weights that are all zero, as a sparse file, in the shapes of ``config.json``."""
    config = json.loads((folder / "config.json").read_text())
    blueprint = find_family(config)(config, {})
    header = {}
    end = 0
    for tensor in blueprint.tensors:
        for part in tensor.parts:
            start, end = end, end + 2 * part.rows * part.columns
            header[part.name] = {
                "dtype": "BF16",
                "shape": list(part.shape),
                "data_offsets": [start, end],
            }
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
