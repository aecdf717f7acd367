"""What does not fit is refused before it is begun."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from modelvault.core.protocol import Warned
from modelvault.errors import NoSpace, NotEnoughMemory
from modelvault_converters.awq import capacity
from modelvault_converters.awq.capacity import (
    Work,
    available_memory,
    estimate_device_memory,
    estimate_memory,
    require_memory,
)
from modelvault_converters.awq.models.layers import LayerRunner
from tests.awq.models import open_model
from tests.awq.running import make_request, run
from tests.support.trainedmodel import Family

Trained = Callable[[Family], Path]
Groups = dict[str, tuple[int | str, int, int]]
MIB = 1024 * 1024
CPU = torch.device("cpu")


class Usage(NamedTuple):
    """What a disk tells."""

    total: int
    used: int
    free: int


def lay_system(root: Path, *, available: int, groups: Groups) -> None:
    """Write what a kernel tells: MiB available, and by group limit, use and cache in MiB."""
    (root / "proc/self").mkdir(parents=True)
    meminfo = f"MemTotal: 999999 kB\nMemAvailable:   {available * 1024} kB\n"
    (root / "proc/meminfo").write_text(meminfo)
    deepest = max(groups, key=len, default="")
    (root / "proc/self/cgroup").write_text(f"1:name=systemd:/old\n0::/{deepest}\n")
    for path, (limit, used, cached) in groups.items():
        folder = root / "sys/fs/cgroup" / path
        folder.mkdir(parents=True, exist_ok=True)
        text = limit if isinstance(limit, str) else str(limit * MIB)
        (folder / "memory.max").write_text(f"{text}\n")
        (folder / "memory.current").write_text(f"{used * MIB}\n")
        (folder / "memory.stat").write_text(f"anon 7\ninactive_file {cached * MIB}\n")


def test_container_limits_what_is_available(tmp_path: Path) -> None:
    """The tightest group on the way up counts, with the cache that it can give up."""
    groups: Groups = {
        "slice/unit": ("max", 300, 0),
        "slice": (1000, 600, 150),
        "": (8000, 700, 0),
    }
    lay_system(tmp_path, available=9000, groups=groups)
    assert available_memory(tmp_path) == 550 * MIB


def test_machine_counts_where_no_container_limits(tmp_path: Path) -> None:
    """Without limits it is what the kernel says is available; another system tells nothing."""
    lay_system(tmp_path, available=9000, groups={"unit": ("max", 300, 0)})
    assert available_memory(tmp_path) == 9000 * MIB
    assert available_memory(tmp_path / "elsewhere") is None


def test_layer_beyond_memory_is_refused_with_the_numbers(trained: Trained, tmp_path: Path) -> None:
    """The message tells what is needed and what there is; a way out is named."""
    lay_system(tmp_path, available=100, groups={})
    with ExitStack() as stack:
        runner = LayerRunner(open_model(trained("llama"), stack))
        for group, way_out in ((128, "--to fp8"), (None, "leave --check out")):
            work = Work.of(runner, 512, group)
            needed = estimate_memory(work) // MIB
            with pytest.raises(NotEnoughMemory, match=rf"about {needed} MiB .* 100 MiB") as caught:
                require_memory(work, CPU, tmp_path)
            require_memory(work, CPU, tmp_path / "elsewhere")
            assert way_out in caught.value.hint


@pytest.mark.parametrize(("family", "length"), [("llama", 1 << 18), ("gemma2", 1 << 13)])
def test_estimate_grows_with_the_sequence(family: Family, length: int, trained: Trained) -> None:
    """What passes through a layer counts: kilobytes a token, and scores where they are held."""
    with ExitStack() as stack:
        runner = LayerRunner(open_model(trained(family), stack))
        short, long = (estimate_memory(Work.of(runner, count, 128)) for count in (32, length))
    assert long - short > 1024 * MIB


def test_layer_beyond_a_gpu_is_refused_with_the_numbers(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory of the machine does not help there; without the option it may fit."""
    monkeypatch.setattr(capacity, "device_memory", lambda _: 100 * MIB)
    with ExitStack() as stack:
        work = Work.of(LayerRunner(open_model(trained("llama"), stack)), 512, 128)
        needed = estimate_device_memory(work) // MIB
        wanted = rf"about {needed} MiB .* on cuda:1, 100 MiB are free there"
        with pytest.raises(NotEnoughMemory, match=wanted) as caught:
            require_memory(work, torch.device("cuda:1"), tmp_path)
        require_memory(work, CPU, tmp_path)
    assert "leave --device out" in caught.value.hint


@pytest.mark.parametrize("target", ["AWQ", "FP8"])
def test_full_disk_is_refused_before_a_byte_is_written(
    target: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Result and activations are counted together."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 4096))
    with pytest.raises(NoSpace, match="0 MiB are free"):
        run(make_request(trained("llama"), target, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_disk_without_room_for_a_check_is_refused(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result would fit, what passes between layers would not."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 2 * MIB))
    run(make_request(trained("llama"), "FP8", tmp_path / "unchecked"))
    with pytest.raises(NoSpace, match="2 MiB are free"):
        run(make_request(trained("llama"), "FP8", tmp_path / "out", check="yes"))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("target", ["AWQ", "FP8"])
def test_plan_tells_what_would_not_fit(
    target: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dry run warns of what the run itself would refuse."""
    fitting = run(make_request(trained("llama"), target, tmp_path, plan_only=True))
    assert [event for event in fitting if isinstance(event, Warned)] == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, 4096))
    monkeypatch.setattr(capacity, "available_memory", lambda _: 100 * MIB)
    events = run(make_request(trained("llama"), target, tmp_path, plan_only=True))
    messages = [event.message for event in events if isinstance(event, Warned)]
    assert len(messages) == (2 if target == "AWQ" else 1)
    assert "free space" in messages[0]


def test_memory_that_runs_out_is_told_as_such(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may take it meanwhile: where it runs out all the same, the error says so."""

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LayerRunner, "read", fail)
    with pytest.raises(NotEnoughMemory, match="CUDA out of memory"):
        run(make_request(trained("llama"), "AWQ", tmp_path))
