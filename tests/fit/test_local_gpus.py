"""The GPUs of this machine, as the library or the program tells them."""

import sys
import types
from pathlib import Path

import pytest

from modelvault.app.fit.fit import FitOptions, with_local_gpus
from modelvault.app.fit.local_gpus import read_local_gpus
from modelvault.errors import BadOption
from modelvault.fit.gpus import Gpu

MIB = 1024 * 1024


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where an ``nvidia-smi`` of the test's stands, without NVIDIA's library."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "nvidia-smi"


def answer(program: Path, lines: str, *, status: int = 0) -> None:
    """Let the program print some lines."""
    program.write_text(f"#!/bin/sh\nprintf '{lines}'\nexit {status}\n")
    program.chmod(0o755)


def test_program_tells_of_every_gpu(program: Path) -> None:
    """Name, memory and what is taken; the one with the most room comes first."""
    answer(program, "NVIDIA H100 80GB HBM3, 81559, 70000\\nNVIDIA H100 80GB HBM3, 81559, 4\\n")
    found = read_local_gpus()
    assert [gpu.used // MIB for gpu in found] == [4, 70000]
    assert found[0].memory == 81559 * MIB


@pytest.mark.parametrize(
    ("lines", "status"),
    [("", 0), ("No devices were found\\n", 0), ("NVIDIA GB10, [N/A], [N/A]\\n", 0),
     ("NVIDIA-SMI has failed because\\n", 9), ("a, b\\n", 0)],
)  # fmt: skip
def test_program_that_cannot_tell_tells_of_none(program: Path, lines: str, status: int) -> None:
    """A driver that is broken, or memory that is the host's, is no GPU and no error."""
    answer(program, lines, status=status)
    assert read_local_gpus() == ()


def test_machine_without_gpu_has_none(program: Path) -> None:
    """Neither library nor program."""
    assert not program.exists()
    assert read_local_gpus() == ()


def test_library_is_asked_first(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is installed no program is run."""
    library = types.ModuleType("pynvml")
    memory = types.SimpleNamespace(total=24564 * MIB, used=564 * MIB)
    members = {
        "NVMLError": RuntimeError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda number: number,
        "nvmlDeviceGetMemoryInfo": lambda handle: memory,
        "nvmlDeviceGetName": lambda handle: b"NVIDIA GeForce RTX 4090",
    }
    for name, member in members.items():
        setattr(library, name, member)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert read_local_gpus() == (
        Gpu(name="NVIDIA GeForce RTX 4090", memory=24564 * MIB, used=564 * MIB),
    )


def test_library_without_a_driver_gives_way_to_the_program(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package alone makes no GPU."""
    library = types.ModuleType("pynvml")

    def fail() -> None:
        raise RuntimeError("NVML Shared Library Not Found")

    for name, member in {"NVMLError": RuntimeError, "nvmlInit": fail}.items():
        setattr(library, name, member)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    answer(program, "Tesla T4, 15360, 0\\n")
    assert [gpu.name for gpu in read_local_gpus()] == ["Tesla T4"]


def test_fullest_of_the_local_gpus_decides() -> None:
    """Two that share a model are as good as the one with less room."""
    local = (Gpu(name="a", memory=100, used=10), Gpu(name="a", memory=100, used=40))
    assert with_local_gpus(FitOptions(gpus=2), local).gpu == local[1]
    assert with_local_gpus(FitOptions(gpus=1), local).gpu == local[0]


def test_more_gpus_than_there_are_is_refused() -> None:
    """Others can be named."""
    with pytest.raises(BadOption, match="this machine has 1"):
        with_local_gpus(FitOptions(gpus=2), (Gpu(name="a", memory=100),))


def test_named_gpu_is_not_replaced_by_a_local_one() -> None:
    """What the user says counts."""
    named = Gpu(name="rtx4090", memory=1)
    assert with_local_gpus(FitOptions(gpu=named), (Gpu(name="a", memory=2),)).gpu == named
