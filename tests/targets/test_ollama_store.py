"""Ollama's store as real servers leave it: names, owners, trees, other kinds of models."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from modelvault import fsio
from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.errors import (
    BadConfiguration,
    BadOption,
    PermissionRefused,
    TargetChanged,
    TargetConflict,
    UnsuitableArtifact,
)
from modelvault.store.blobs import Store
from modelvault.targets import ollama
from modelvault.targets.gguf_artifact import find_gguf
from modelvault.targets.ollama import OllamaRuntime
from modelvault.targets.receipt import Placement, Receipt
from tests.support import tinygguf
from tests.support.installable import WHEN, make_artifact, make_gguf, tree

pytestmark = pytest.mark.memory

HOME = "registry.ollama.ai/library"
Content = tuple[Artifact, Manifest]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return an empty models folder on the store's file system."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def install(store: Store, models: Path, content: Content | None = None, **options: Any) -> Receipt:
    """Install an artefact, by default one of text."""
    runtime = OllamaRuntime({})
    settings = {"folder": models, "name": None, "when": WHEN, **options}
    return runtime.apply(runtime.plan(*(content or make_gguf(store)), store, **settings))


def put_blob(models: Path, data: bytes) -> str:
    """Put a blob of another program into the store; return its digest."""
    digest = Digest.of(data)
    path = models / "blobs" / f"sha256-{digest.hex}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return str(digest)


def manifest_of(*digests: str) -> bytes:
    """Return a manifest that names blobs."""
    config, *layers = ({"mediaType": "x", "digest": digest, "size": 1} for digest in digests)
    return json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode()


def put_model(models: Path, name: str, *digests: str) -> Path:
    """Put a model of another program into the store; return its manifest."""
    path = models / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(manifest_of(*(digests or (str(Digest.of(name.encode())),))))
    return path


def link_model(models: Path, name: str, data: bytes) -> Path:
    """Put a model whose manifest is a blob into the store; return the link to it."""
    digest = Digest.parse(put_blob(models, data))
    path = models / "manifests-v2" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(f"../../../../blobs/sha256-{digest.hex}")
    return path


# --- names -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("standing", "name", "settled"),
    [
        ("registry.ollama.ai/library/qwen3/Q4_K_M", None, "tiny-1b:Q4_K_M"),
        ("registry.ollama.ai/library/Tiny-1B/latest", None, "Tiny-1B:q4_k_m"),
        ("Registry.Ollama.AI/library/x/y", None, "Registry.Ollama.AI/library/tiny-1b:q4_k_m"),
        ("hub.example/Acme/other/x", "acme/tiny", "Acme/tiny:latest"),
        ("hub.example/Library/other/x", "tiny", "Library/tiny:latest"),
        ("hub.example/library/other/LATEST", "tiny:Latest", "tiny:LATEST"),
    ],
)
def test_spelling_that_is_there_is_taken(
    store: Store, models: Path, standing: str, name: str | None, settled: str
) -> None:
    """Ollama looks up each part without regard to case, in all its models: one spelling each."""
    put_model(models, standing)
    receipt = install(store, models, name=name)
    assert receipt.name == settled
    assert any(settled in note and "capital" in note for note in receipt.notes)
    assert install(store, models, name=name).name == settled
    parts = {
        (depth, part)
        for path in models.glob("manifests/*/*/*/*")
        for depth, part in enumerate(path.relative_to(models / "manifests").parts)
    }
    assert len({(depth, part.lower()) for depth, part in parts}) == len(parts)


def test_model_whose_name_differs_in_case_is_that_model(store: Store, models: Path) -> None:
    """The same one is installed already; another one is a conflict, told in its own spelling."""
    install(store, models, name="Tiny:Q4")
    before = tree(models)
    assert install(store, models, name="tiny:q4").name == "Tiny:Q4"
    assert tree(models) == before
    with pytest.raises(TargetConflict, match="another model called Tiny:Q4"):
        install(store, models, make_gguf(store, seed=b"\1"), name="TINY:q4")
    replaced = install(store, models, make_gguf(store, seed=b"\1"), name="TINY:q4", replace=True)
    assert replaced.name == "Tiny:Q4"


def test_store_that_spells_a_part_in_two_ways_is_told(store: Store, models: Path) -> None:
    """Whichever is taken, the server would find it at random: the way out is in the hint."""
    put_model(models, f"{HOME}/one/Q4_K_M")
    put_model(models, f"{HOME}/two/q4_k_m")
    with pytest.raises(TargetConflict, match="'Q4_K_M' and 'q4_k_m'") as caught:
        install(store, models)
    assert "ollama rm" in caught.value.hint
    assert install(store, models, name="tiny:mine").name == "tiny:mine"


def test_spelling_that_appears_after_planning_is_noticed(store: Store, models: Path) -> None:
    """A pull of the server's own between plan and install does not make a pair."""
    runtime = OllamaRuntime({})
    plan = runtime.plan(*make_gguf(store), store, folder=models, name=None, when=WHEN)
    put_model(models, f"{HOME}/other/Q4_K_M")
    with pytest.raises(TargetChanged, match="otherwise"):
        runtime.apply(plan)


def test_what_is_no_name_is_passed_over(store: Store, models: Path) -> None:
    """Hidden files, names that Ollama refuses, files at other depths and folders count not."""
    for name in (".DS_Store", "Q4_K_M~", "Q4_K_M#1"):
        put_model(models, f"{HOME}/Tiny-1B/{name}").parent.joinpath("sub").mkdir(exist_ok=True)
    (models / "manifests" / "README").write_text("")
    assert install(store, models).name == "tiny-1b:q4_k_m"


def test_folder_of_names_that_cannot_be_read_stops_the_install(
    store: Store, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in it may have any spelling, and name any blob."""
    put_model(models, f"{HOME}/other/latest")
    listdir = os.listdir

    def refuse(path: Path) -> list[str]:
        if Path(path).name == "library":
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(PermissionRefused):
        install(store, models)


# --- manifests that are blobs ------------------------------------------------------------


def test_names_of_linked_manifests_count(store: Store, models: Path) -> None:
    """A server that keeps manifests as blobs looks there first: spelling and conflicts."""
    link_model(models, f"{HOME}/other/Q4_K_M", manifest_of(put_blob(models, b"a")))
    assert install(store, models).name == "tiny-1b:Q4_K_M"
    link_model(models, f"{HOME}/mine/latest", manifest_of(put_blob(models, b"b")))
    for replace in (False, True):
        with pytest.raises(TargetConflict, match="another model called mine:latest"):
            install(store, models, name="mine", replace=replace)


def test_blobs_of_linked_manifests_are_kept(store: Store, models: Path) -> None:
    """What a link, a list of manifests, or one inside a list names is not removed."""
    ours = install(store, models)
    shared = [Path(file.path).name.replace("-", ":") for file in ours.files[:-1]]
    assert len(shared) == 4 - 1
    model, license_, config = shared
    link_model(models, f"{HOME}/one/x", manifest_of(config))
    inner = json.loads(manifest_of(license_))
    child = put_blob(models, manifest_of(model))
    listed = {"manifests": [inner, {"digest": child}], "mediaType": "list"}
    link = link_model(models, f"{HOME}/two/x", json.dumps(listed).encode())
    removal = OllamaRuntime({}).undo(ours)
    assert set(removal.kept) == {file.path for file in ours.files[:-1]}
    assert link.resolve().is_file()


@pytest.mark.parametrize("text", ["/etc/passwd", "../../../../blobs/sha256-none", "dangling"])
def test_attack_link_that_is_no_blobs_keeps_everything(
    store: Store, models: Path, text: str
) -> None:
    """It is not followed, and while it stands any blob may be needed."""
    ours = install(store, models)
    link = models / "manifests-v2" / HOME / "odd" / "x"
    link.parent.mkdir(parents=True)
    link.symlink_to(text)
    assert len(OllamaRuntime({}).undo(ours).kept) == 3


# --- what kind of model it is --------------------------------------------------------------


def pooled(kind: int | None, *, late: bool = False, architecture: str = "bert") -> bytes:
    """Return a GGUF whose texts are pooled."""
    pooling = [] if kind is None else [tinygguf.u32_pair(f"{architecture}.pooling_type", kind)]
    tokens = [tinygguf.strings_pair("tokenizer.ggml.tokens", ["a"])]
    return tinygguf.gguf(
        [
            tinygguf.string_pair("general.architecture", architecture),
            *(tokens + pooling if late else pooling + tokens),
        ],
        [tinygguf.tensor("token_embd.weight", [32], 0, 0)],
        data=bytes(128),
    )


@pytest.mark.parametrize("architecture", ["bert", "qwen3"])
def test_reranker_is_refused_with_the_runtime_that_has_a_way(
    store: Store, models: Path, architecture: str
) -> None:
    """Ollama would load it and answer zeros; llama.cpp rates with it."""
    content = make_artifact(store, {"r.gguf": pooled(4, architecture=architecture)}, kind="gguf")
    with pytest.raises(UnsuitableArtifact, match="reranker") as caught:
        install(store, models, content)
    assert "--to llamacpp" in caught.value.hint
    assert "--reranking" in caught.value.hint
    assert tree(models) == {}


@pytest.mark.parametrize("late", [False, True])
def test_embedder_is_told_as_one(store: Store, models: Path, late: bool) -> None:
    """Its notes name /api/embed; where a list would miss what it is, they say that, too."""
    content = make_artifact(store, {"e.gguf": pooled(1, late=late)}, kind="gguf")
    notes = install(store, models, content).notes
    assert any("/api/embed" in note for note in notes)
    assert not any("chat" in note for note in notes)
    assert any("ollama list" in note for note in notes) is late


def projector(architecture: str = "clip") -> bytes:
    """Return a GGUF that is a projector."""
    return tinygguf.gguf(
        [tinygguf.string_pair("general.architecture", architecture)],
        [tinygguf.tensor("v.patch_embd.weight", [32], 0, 0)],
        data=bytes(128),
    )


def test_projector_gets_a_layer_of_its_own(store: Store, models: Path) -> None:
    """A model that sees is installed with what it sees by, as the server's own import does."""
    files = {"Tiny-Q4_K_M.gguf": tinygguf.tiny_llama(), "mmproj-F16.gguf": projector()}
    receipt = install(store, models, make_artifact(store, files, variant="Q4_K_M", kind="gguf"))
    manifest = json.loads((models / receipt.files[-1].path).read_bytes())
    layers = {layer["mediaType"].rpartition(".")[2]: layer for layer in manifest["layers"]}
    assert list(layers) == ["model", "projector"]
    assert layers["projector"]["digest"] == str(Digest.of(files["mmproj-F16.gguf"]))
    config = models / "blobs" / manifest["config"]["digest"].replace(":", "-")
    assert json.loads(config.read_bytes())["model_families"] == ["llama", "clip"]
    OllamaRuntime({}).undo(receipt)
    assert not [path for path in tree(models) if "sha256-" in path]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["mmproj-BF16.gguf", "mmproj-F32.gguf", "mmproj-F16.gguf"], "mmproj-F16.gguf"),
        (["x-mmproj-f32.gguf", "x-mmproj-bf16.gguf"], "x-mmproj-bf16.gguf"),
        (["mmproj-a.gguf", "mmproj-q8_0.gguf"], "mmproj-q8_0.gguf"),
        (["mmproj-b.gguf", "mmproj-a.gguf"], "mmproj-a.gguf"),
    ],
)
def test_one_of_several_projectors_is_chosen_and_the_others_are_told(
    store: Store, models: Path, names: list[str], chosen: str
) -> None:
    """They are one and the same in several types: f16 first."""
    files = {"m.gguf": tinygguf.tiny_llama()}
    files |= {name: projector() + bytes([number]) for number, name in enumerate(names)}
    receipt = install(store, models, make_artifact(store, files, kind="gguf"))
    manifest = json.loads((models / receipt.files[-1].path).read_bytes())
    digests = [layer["digest"] for layer in manifest["layers"] if "projector" in layer["mediaType"]]
    assert digests == [str(Digest.of(files[chosen]))]
    (note,) = (note for note in receipt.notes if "left out" in note)
    assert all(name in note for name in names if name != chosen)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"mmproj-F16.gguf": projector()}, "a projector and no model"),
        ({"m.gguf": projector("clip"), "mmproj-F16.gguf": projector("llama")}, "called a proj"),
    ],
)
def test_projector_alone_or_in_name_only_is_refused(
    store: Store, models: Path, files: dict[str, bytes], words: str
) -> None:
    """Both are told apart from a model that misses nothing."""
    with pytest.raises(UnsuitableArtifact, match=words):
        install(store, models, make_artifact(store, files, kind="gguf"))


def test_runtime_without_projectors_says_so(store: Store) -> None:
    """A model that sees is not installed blind."""
    files = {"m.gguf": tinygguf.tiny_llama(), "mmproj-F16.gguf": projector()}
    with pytest.raises(UnsuitableArtifact, match="which Shelf does not load"):
        find_gguf(*make_artifact(store, files, kind="gguf"), runtime="Shelf")


# --- other owners ------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another owner's store")
def test_store_of_another_owner_is_told_what_will_not_work(store: Store, models: Path) -> None:
    """A hardlink keeps the vault's owner, which 'ollama create' cannot do with."""
    assert not any("ollama create" in note for note in install(store, models).notes)
    OllamaRuntime({}).undo(install(store, models))
    os.chown(models, 12345, 23456)
    for _ in range(2):
        receipt = install(store, models)
        assert receipt.count(Placement.HARDLINK) == 2
        assert any("'ollama create' FROM this model fails" in note for note in receipt.notes)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another owner's store")
def test_store_of_another_owner_gets_reflinks_of_its_own(
    store: Store, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where extents can be shared, the blobs are the store's owner's, and take no space."""

    def share(source: Path, target: Path) -> bool:
        target.write_bytes(source.read_bytes())
        return True

    monkeypatch.setattr(fsio, "reflink", share)
    os.chown(models, 12345, 23456)
    receipt = install(store, models)
    assert receipt.count(Placement.REFLINK) == 2
    assert not any("ollama create" in note for note in receipt.notes)
    for file in receipt.files:
        state = (models / file.path).stat()
        assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (12345, 23456, 0o644)


def test_store_of_ones_own_gets_hardlinks(
    store: Store, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sharing the file itself is better where nobody else has to own it."""
    monkeypatch.setattr(fsio, "reflink", lambda *_: pytest.fail("not asked for"))
    assert install(store, models).count(Placement.HARDLINK) == 2


# --- busy servers ---------------------------------------------------------------------------


def test_server_that_removes_the_emptied_folder_is_outlived_at_once(
    store: Store, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model is deleted in the very moment: its folder is made again, without a pause."""
    monkeypatch.setattr(ollama, "PAUSES", (0.0,))
    gone: list[Path] = []
    replace = os.replace

    def sweep(source: Path, target: Path) -> None:
        if "manifests/" in str(target) and len(gone) < 10:
            Path(target).parent.rmdir()
            gone.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", sweep)
    receipt = install(store, models)
    assert len(gone) == 10
    assert (models / receipt.files[-1].path).is_file()


def test_rounds_against_a_busy_server_are_paused(
    store: Store, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round waits longer than the last, so that a burst of removals passes."""
    slept: list[float] = []
    sync = fsio.sync_folder

    def sweep(path: Path) -> None:
        sync(path)
        for blob in (models / "blobs").glob("sha256-*"):
            blob.unlink()

    monkeypatch.setattr(fsio, "sync_folder", sweep)
    monkeypatch.setattr(time, "sleep", slept.append)
    with pytest.raises(TargetChanged):
        install(store, models)
    assert slept == list(ollama.PAUSES)
    assert slept == sorted(slept)
    assert sum(slept) > 3


# --- folders that are not there ----------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["{}", '"{}"', " {} "])
def test_mistyped_ollama_models_is_not_created(store: Store, tmp_path: Path, spelling: str) -> None:
    """A folder that no server has made is where no server looks; quotes are the server's habit."""
    wrong = tmp_path / "modles"
    runtime = OllamaRuntime({"OLLAMA_MODELS": spelling.format(wrong), "HOME": str(tmp_path)})
    content = make_gguf(store)
    with pytest.raises(BadConfiguration, match=f"OLLAMA_MODELS names {wrong},"):
        runtime.plan(*content, store, folder=None, name=None, when=WHEN)
    assert not wrong.exists()
    wrong.mkdir()
    plan = runtime.plan(*content, store, folder=None, name=None, when=WHEN)
    assert plan.location == wrong
    assert any("no store was here before" in note for note in plan.notes)
    runtime.apply(plan)
    again = runtime.plan(*content, store, folder=None, name=None, when=WHEN)
    assert not any("no store was here before" in note for note in again.notes)


def test_home_that_is_not_there_is_not_created(store: Store, tmp_path: Path) -> None:
    """A service account may have none; its usual folder is made in one that is there."""
    runtime = OllamaRuntime({"HOME": str(tmp_path / "nobody")}, system_folder=tmp_path / "none")
    content = make_gguf(store)
    with pytest.raises(BadConfiguration, match="HOME names"):
        runtime.plan(*content, store, folder=None, name=None, when=WHEN)
    (tmp_path / "nobody").mkdir()
    runtime.apply(runtime.plan(*content, store, folder=None, name=None, when=WHEN))
    assert (tmp_path / "nobody/.ollama/models/manifests").is_dir()


def test_mistyped_dir_is_not_created(store: Store, tmp_path: Path) -> None:
    """A folder in one that is there may be new, and is told; a whole path may not."""
    with pytest.raises(BadOption, match="neither it nor the folder above it"):
        install(store, tmp_path / "nowhere" / "models")
    assert not (tmp_path / "nowhere").exists()
    receipt = install(store, tmp_path / "new")
    assert any("no store was here before" in note for note in receipt.notes)
