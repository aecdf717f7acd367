"""The contract of ``Runtime``: every real one and the fake keep it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelvault.core.artifact import Artifact
from modelvault.core.manifest import Manifest
from modelvault.errors import (
    BadOption,
    TargetChanged,
    TargetConflict,
    UnknownTarget,
    UnsuitableArtifact,
)
from modelvault.store.blobs import Store
from modelvault.targets.llamacpp import LlamaCppRuntime
from modelvault.targets.ollama import OllamaRuntime
from modelvault.targets.receipt import Placement, Receipt
from modelvault.targets.registry import NAMES, runtime
from modelvault.targets.runtime import InstallPlan, Runtime
from modelvault.targets.vllm import VllmRuntime
from tests.support.fakes_runtime import FakeRuntime
from tests.support.installable import SAFETENSORS_FILES, WHEN, make_artifact, make_gguf, tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A runtime, two different models for it, one it cannot use, and a look inside."""

    runtime: Runtime
    store: Store
    folder: Path
    first: tuple[Artifact, Manifest]
    second: tuple[Artifact, Manifest]
    unsuitable: tuple[Artifact, Manifest]
    look: Callable[[], Any]
    tamper: Callable[[str], None]

    def plan(self, which: tuple[Artifact, Manifest], **options: Any) -> InstallPlan:
        """Plan an install under one and the same name."""
        settings = {"folder": self.folder, "name": "model", "when": WHEN, **options}
        return self.runtime.plan(*which, self.store, **settings)


@pytest.fixture(params=["ollama", "llamacpp", "vllm", "fake"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """Return the adapter under test with everything it needs."""
    store = Store.create(tmp_path / "vault")
    folder = tmp_path / "target"
    folder.mkdir()
    ggufs = make_gguf(store, seed=b"\1"), make_gguf(store, seed=b"\2")
    changed = {**SAFETENSORS_FILES, "config.json": b'{"a":1}'}
    tensors = make_artifact(store, SAFETENSORS_FILES), make_artifact(store, changed)

    def tamper(path: str) -> None:
        victim = folder / path
        content = bytearray(victim.read_bytes())
        victim.unlink()
        content[-1] ^= 1
        victim.write_bytes(content)

    parts: dict[str, Any] = {"store": store, "folder": folder}
    if request.param == "fake":
        fake = FakeRuntime()

        def tamper_fake(path: str) -> None:
            fake.files[path] += b"!"

        return Case(
            runtime=fake,
            first=ggufs[0],
            second=ggufs[1],
            unsuitable=tensors[0],
            look=lambda: dict(fake.files),
            tamper=tamper_fake,
            **parts,
        )
    wants_gguf = request.param != "vllm"
    adapters: dict[str, Runtime] = {
        "ollama": OllamaRuntime({}),
        "llamacpp": LlamaCppRuntime(),
        "vllm": VllmRuntime(),
    }
    return Case(
        runtime=adapters[request.param],
        first=(ggufs if wants_gguf else tensors)[0],
        second=(ggufs if wants_gguf else tensors)[1],
        unsuitable=(tensors if wants_gguf else ggufs)[0],
        look=lambda: tree(folder),
        tamper=tamper,
        **parts,
    )


def test_planning_touches_nothing(case: Case) -> None:
    """A plan says what will stand where, and leaves the target as it was."""
    before = case.look()
    plan = case.plan(case.first)
    assert case.look() == before
    assert plan.artifact == case.first[0].digest
    assert plan.files
    assert plan.size == sum(file.size for file in plan.files) > 0


def test_install_gives_a_receipt_of_what_stands_there(case: Case) -> None:
    """The receipt lists the plan's files, and survives as JSON."""
    plan = case.plan(case.first)
    receipt = case.runtime.apply(plan)
    assert [(file.path, file.digest, file.size) for file in receipt.files] == [
        (file.path, file.digest, file.size) for file in plan.files
    ]
    assert (receipt.artifact, receipt.name) == (case.first[0].digest, plan.name)
    assert (receipt.installed, receipt.notes) == (WHEN, plan.notes)
    assert Receipt.parse(receipt.encode()) == receipt


def test_second_install_changes_nothing(case: Case) -> None:
    """Installing what stands there already is a success and no work."""
    first = case.runtime.apply(case.plan(case.first))
    before = case.look()
    second = case.runtime.apply(case.plan(case.first))
    assert case.look() == before
    assert [file.path for file in second.files] == [file.path for file in first.files]
    assert second.count(Placement.COPY) == 0


def test_undo_restores_what_was_there(case: Case) -> None:
    """After undoing, the target is as before, for a single and a repeated install."""
    before = case.look()
    for times in (1, 2):
        for _ in range(times):
            receipt = case.runtime.apply(case.plan(case.first))
        removal = case.runtime.undo(receipt)
        assert set(removal.removed) == {file.path for file in receipt.files}
        assert removal.kept == ()
        left = case.look()
        assert {path for path in left if path not in before} <= {
            "blobs",
            "manifests",
            "manifests/registry.ollama.ai",
            "manifests/registry.ollama.ai/library",
        }
        if times == 1:
            assert left == before


def test_undoing_twice_is_harmless(case: Case) -> None:
    """What is gone already is no error."""
    receipt = case.runtime.apply(case.plan(case.first))
    case.runtime.undo(receipt)
    assert case.runtime.undo(receipt).removed == ()


def test_different_model_of_that_name_is_a_conflict(case: Case) -> None:
    """A model is not overwritten unless that is asked for."""
    late = case.plan(case.second)
    case.runtime.apply(case.plan(case.first))
    before = case.look()
    with pytest.raises(TargetConflict):  # at the latest when it is applied
        case.runtime.apply(case.plan(case.second))
    with pytest.raises(TargetConflict):
        case.runtime.apply(late)
    assert case.look() == before


def test_replacing_is_possible_when_asked_for(case: Case) -> None:
    """With ``replace`` the second model stands there, and the first one no more."""
    case.runtime.apply(case.plan(case.first))
    receipt = case.runtime.apply(case.plan(case.second, replace=True))
    assert receipt.artifact == case.second[0].digest
    assert case.runtime.apply(case.plan(case.second)).count(Placement.COPY) == 0


def test_changed_file_is_not_removed(case: Case) -> None:
    """Undo removes nothing once a file is no longer what was installed."""
    receipt = case.runtime.apply(case.plan(case.first))
    case.tamper(receipt.files[-1].path)
    before = case.look()
    with pytest.raises(TargetChanged):
        case.runtime.undo(receipt)
    assert case.look() == before


def test_unsuitable_artifact_is_refused_with_a_way_out(case: Case) -> None:
    """The wrong format is refused before anything is touched."""
    before = case.look()
    with pytest.raises(UnsuitableArtifact) as caught:
        case.plan(case.unsuitable)
    assert case.look() == before
    assert isinstance(case.runtime, FakeRuntime) or "modelvault" in caught.value.hint


@pytest.mark.parametrize("name", ["", "../up", "a/../../b", "/etc/passwd", "a\0b", ".hidden", "-x"])
def test_attack_name_that_leaves_the_folder_is_refused(case: Case, name: str) -> None:
    """No name leads out of the target's folder, or looks like an option."""
    if isinstance(case.runtime, FakeRuntime) and "/" not in name:
        name = "a/b"
    with pytest.raises(BadOption):
        case.plan(case.first, name=name)


def test_registry_knows_every_runtime_and_no_other() -> None:
    """``--to`` accepts the names in the registry; others are answered with that list."""
    assert NAMES == ("llamacpp", "ollama", "vllm")
    assert [type(runtime(name)).__name__ for name in NAMES] == [
        "LlamaCppRuntime",
        "OllamaRuntime",
        "VllmRuntime",
    ]
    with pytest.raises(UnknownTarget) as caught:
        runtime("tgi")
    assert "llamacpp, ollama, vllm" in caught.value.hint
