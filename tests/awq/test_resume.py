"""An interrupted conversion goes on with its first unfinished layer, to the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from modelvault.core.protocol import RESUME, Advanced, Event, Request, Stepped
from modelvault.errors import CheckFailed
from modelvault_converters.awq.__main__ import serve
from modelvault_converters.awq.convert import convert
from modelvault_converters.awq.journal import Journal
from modelvault_converters.awq.report.activations import SUFFIX
from tests.awq.running import make_request, produced, run
from tests.support.killpoints import kill_points
from tests.support.trainedmodel import Family

Trained = Callable[[Family], Path]
Contents = dict[str, bytes]


def request_for(source: Path, output: Path, **options: Any) -> Request:
    """Return a request whose sequences are few and short."""
    return make_request(source, "AWQ", output, samples="4", sequence_length="32", **options)


def read_folder(folder: Path) -> Contents:
    """Return the files of a result, without what serves to go on."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name != RESUME and path.suffix != SUFFIX
    }


def layers_run(events: list[Event]) -> list[int]:
    """Return the layers whose end was told."""
    return [item.layer for item in events if isinstance(item, Stepped) and item.step == "layer"]


@pytest.fixture(scope="module")
def whole(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """Return the files of a conversion that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run(request_for(trained("llama"), folder))
    return read_folder(folder)


def interrupt(request: Request, layer: int) -> None:
    """Run a request until a layer is done, and leave what a dying process leaves."""
    pid = os.fork()
    if pid == 0:
        for event in serve(request.encode()):
            if isinstance(event, Stepped) and event.step == "layer" and event.layer == layer:
                os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])


@pytest.mark.slow
def test_killed_at_any_step_it_goes_on_to_the_same_bytes(
    trained: Trained, whole: Contents, tmp_path: Path
) -> None:
    """Whatever was durable when the process died, the next run ends with the same folder."""
    numbers = count()

    def convert() -> None:
        run(request_for(trained("llama"), tmp_path / str(at)))

    at, gone_on = next(numbers), 0
    for _ in kill_points(convert):
        folder = tmp_path / str(at)
        resumable = (folder / RESUME).exists()
        if not resumable:  # the vault clears such a folder
            shutil.rmtree(folder)
        gone_on += resumable
        run(request_for(trained("llama"), folder))
        assert read_folder(folder) == whole
        at = next(numbers)
    assert gone_on > 10


def test_child_killed_between_layers_does_no_layer_twice(
    trained: Trained, whole: Contents, tmp_path: Path
) -> None:
    """A real process, a real SIGKILL: the second run begins with the second layer."""
    request = request_for(trained("llama"), tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-m", "modelvault_converters.awq"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        child.stdin.write(request.encode())
        child.stdin.close()
        for line in child.stdout:
            if b'"step": "layer"' in line:
                child.kill()
                break
    assert child.returncode == -signal.SIGKILL
    assert (tmp_path / RESUME).exists()
    events = run(request)
    assert layers_run(events) == [2]
    assert read_folder(tmp_path) == whole


def test_killed_in_the_middle_of_a_layer_keeps_the_layer_before(
    trained: Trained, whole: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activations that were half overwritten are not what the next run reads."""
    request = request_for(trained("llama"), tmp_path)

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr(Journal, "save", _save_first(die, times=2))
        list(serve(request.encode()))
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    assert json.loads((tmp_path / RESUME).read_bytes())["layers"] == 1
    assert layers_run(run(request)) == [2]
    assert read_folder(tmp_path) == whole


def _save_first(then: Callable[..., None], times: int) -> Callable[..., None]:
    left, save = times, Journal.save

    def call(journal: Journal, folder: Path) -> None:
        nonlocal left
        if not left:
            then()
        left -= 1
        save(journal, folder)

    return call


def test_sharded_conversion_goes_on_to_the_same_bytes(trained: Trained, tmp_path: Path) -> None:
    """Several weight files and their index, the same as without an interruption."""

    def run_sharded(folder: Path, stop_after: int | None = None) -> None:
        with ExitStack() as stack:
            for event in convert(request_for(trained("llama"), folder), stack, shard=300_000):
                if isinstance(event, Stepped) and event.layer == stop_after:
                    return

    run_sharded(tmp_path / "whole")
    whole = read_folder(tmp_path / "whole")
    assert sum(name.endswith(".safetensors") for name in whole) > 2
    assert "model.safetensors.index.json" in whole
    run_sharded(tmp_path / "cut", stop_after=2)
    assert (tmp_path / "cut" / RESUME).exists()
    run_sharded(tmp_path / "cut")
    assert read_folder(tmp_path / "cut") == whole


@pytest.mark.parametrize(
    "change", [{"seed": "4"}, {"group_size": "64"}, {"sequence_length": "40"}, {"samples": "3"}]
)
def test_another_request_begins_anew(
    change: dict[str, str], trained: Trained, tmp_path: Path
) -> None:
    """What an interrupted run left is of no use to a request that shapes another result."""
    first = request_for(trained("llama"), tmp_path / "a")
    interrupt(first, 1)
    other = replace(first, options={**first.options, **change})
    assert layers_run(run(other)) == [1, 2]
    clean = replace(other, output=str(tmp_path / "b"))
    Path(clean.output).mkdir()
    run(clean)
    assert read_folder(tmp_path / "a") == read_folder(tmp_path / "b")


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / RESUME).write_bytes(b"{"),
        lambda folder: (folder / RESUME).write_bytes(b"[" * 100000),
        lambda folder: (folder / RESUME).write_bytes(b'{"work": 1, "layers": Infinity}'),
        lambda folder: (folder / RESUME).write_bytes(b'{"work": 1, "layers": "many"}'),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "samples.1.activations").unlink(),
        lambda folder: os.truncate(folder / "source.1.activations", 5),
        lambda folder: os.truncate(folder / "model.safetensors", 5000),
    ],
)
def test_damaged_remains_are_swept_away(
    harm: Callable[[Path], object], trained: Trained, whole: Contents, tmp_path: Path
) -> None:
    """A journal that cannot be believed, or whose files are gone, begins anew."""
    request = request_for(trained("llama"), tmp_path)
    interrupt(request, 1)
    harm(tmp_path)
    assert layers_run(run(request)) == [1, 2]
    assert read_folder(tmp_path) == whole


def test_limit_and_threads_do_not_undo_what_is_done(trained: Trained, tmp_path: Path) -> None:
    """Neither shapes the weights: the layers that are done stay."""
    request = request_for(trained("llama"), tmp_path)
    interrupt(request, 1)
    again = replace(request, threads=2, options={**request.options, "max_kl": "100"})
    assert layers_run(run(again)) == [2]


def test_result_that_the_vault_has_not_taken_is_finished_without_a_layer(
    trained: Trained, whole: Contents, tmp_path: Path
) -> None:
    """A vault that is killed while it hashes the files finds all of them again."""
    request = request_for(trained("llama"), tmp_path)
    expected = produced(run(request))
    assert set(expected.files) == set(whole)
    events = run(request)
    assert layers_run(events) == []
    assert produced(events) == expected
    assert read_folder(tmp_path) == whole


def test_refused_result_leaves_nothing_to_go_on_with(trained: Trained, tmp_path: Path) -> None:
    """A result that is too far from its source is not finished by a later run."""
    with pytest.raises(CheckFailed, match="--max-kl") as caught:
        run(request_for(trained("llama"), tmp_path, max_kl="0.000001"))
    assert "--to fp8" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_progress_tells_layers_losses_and_the_time_left(trained: Trained, tmp_path: Path) -> None:
    """Bytes grow to the planned size; a resumed run knows the pace from the layers before."""
    request = request_for(trained("llama"), tmp_path)
    interrupt(request, 1)
    events = run(request)
    (step,) = [item for item in events if isinstance(item, Stepped) and item.step == "layer"]
    assert (step.target, step.layer, step.layers) == ("AWQ", 2, 2)
    assert step.loss_before is not None
    assert step.loss_after is not None
    assert 0 < step.loss_after < step.loss_before
    assert step.seconds_left == 0
    begun = next(item for item in events if isinstance(item, Stepped))
    assert begun.seconds_left is not None
    assert begun.seconds_left > 0
    assert [item.done for item in events if isinstance(item, Advanced)]
    assert produced(events).parameters["layer_errors"].count("[") == 3
