"""Installing for vLLM: a complete folder, in one step, and nothing else in it."""

import json
import shutil
import stat
from functools import partial
from pathlib import Path

import pytest

from modelvault.errors import BadOption, NoSpace, TargetConflict, UnsuitableArtifact
from modelvault.store.blobs import Store
from modelvault.targets.receipt import Placement, Receipt
from modelvault.targets.vllm import VllmRuntime
from tests.support.installable import SAFETENSORS_FILES, WHEN, make_artifact, make_gguf, tree
from tests.support.killpoints import kill_points

pytestmark = pytest.mark.memory

MODEL = "acme/Tiny-1B"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return an empty models folder on the store's file system."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def _install(
    store: Store,
    folder: Path,
    files: dict[str, bytes] | None = None,
    *,
    name: str | None = None,
    variant: str | None = None,
    replace: bool = False,
) -> Receipt:
    runtime = VllmRuntime()
    artifact = make_artifact(store, files or SAFETENSORS_FILES, variant=variant)
    plan = runtime.plan(*artifact, store, folder=folder, name=name, when=WHEN, replace=replace)
    return runtime.apply(plan)


def _content(folder: Path) -> dict[str, bytes]:
    return {path: item[3] for path, item in tree(folder).items() if stat.S_ISREG(item[0])}


def test_folder_holds_the_model_and_nothing_else(store: Store, models: Path) -> None:
    """Every needed file, none of ours, hardlinked from the vault."""
    receipt = _install(store, models)
    assert _content(models / MODEL) == SAFETENSORS_FILES
    assert receipt.count(Placement.HARDLINK) == len(SAFETENSORS_FILES)
    assert set(tree(models)) == {
        "acme",
        MODEL,
        f"{MODEL}/additional_chat_templates",
        *(f"{MODEL}/{path}" for path in SAFETENSORS_FILES),
    }


def test_weights_outside_the_index_and_other_formats_are_left_out(
    store: Store, models: Path
) -> None:
    """A second layout of the weights would be loaded too, or confuse the server."""
    extra = {
        "consolidated.safetensors": b"x",
        "pytorch_model.bin": b"x",
        "pytorch_model.bin.index.json": b"{}",
        "original/model.safetensors": b"x",
        "onnx/config.json": b"{}",
        ".gitattributes": b"x",
        "figure.png": b"x",
        "model.gguf": b"x",
    }
    receipt = _install(store, models, {**SAFETENSORS_FILES, **extra})
    assert _content(models / MODEL) == SAFETENSORS_FILES
    assert "left out, not in the index: consolidated.safetensors" in receipt.notes


def test_single_weight_file_needs_no_index(store: Store, models: Path) -> None:
    """Small models come in one file."""
    files = {
        "config.json": b"{}",
        "model.safetensors": b"weights",
        "tokenizer.model": b"spm",
        "extra.safetensors": b"adapter",
    }
    _install(store, models, files)
    del files["extra.safetensors"]
    assert _content(models / MODEL) == files


def test_notes_are_the_command_that_serves_it(store: Store, models: Path) -> None:
    """The receipt says how to start the server so that it never calls out."""
    receipt = _install(store, models)
    command = receipt.notes[0]
    assert command.startswith(
        "HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 vllm serve "
    )
    assert f"{models / MODEL} --served-model-name {MODEL}" in command
    assert command.endswith("--tensor-parallel-size 1 --max-model-len 4096")


def test_quantisation_and_remote_code_are_mentioned(store: Store, models: Path) -> None:
    """What the config asks of the server, the operator gets to know."""
    config = {
        "quantization_config": {"quant_method": "awq"},
        "auto_map": {"AutoModel": "modeling.Tiny"},
        "text_config": {"max_position_embeddings": 512},
    }
    files = {**SAFETENSORS_FILES, "config.json": json.dumps(config).encode()}
    notes = _install(store, models, files).notes
    assert notes[0].endswith("--max-model-len 512")
    assert any("awq" in note for note in notes)
    assert any("--trust-remote-code" in note for note in notes)


def test_attack_folder_name_cannot_smuggle_a_command(store: Store, tmp_path: Path) -> None:
    """Paths in the printed command are quoted."""
    folder = tmp_path / "a; rm -rf $HOME"
    command = _install(store, folder).notes[0]
    assert f"'{folder / MODEL}'" in command


def test_variants_stand_beside_the_source(store: Store, models: Path) -> None:
    """A quantised variant gets a folder of its own."""
    _install(store, models)
    receipt = _install(store, models, {**SAFETENSORS_FILES, "quant.json": b"{}"}, variant="AWQ")
    assert receipt.name == "acme/Tiny-1B-AWQ"
    assert (models / "acme" / "Tiny-1B-AWQ" / "config.json").is_file()


@pytest.mark.parametrize(
    ("change", "issue"),
    [
        ({"config.json": None}, "config.json: missing"),
        ({"config.json": b"[]"}, "config.json: an object is expected"),
        ({"config.json": b"{"}, "config.json: not JSON"),
        ({"config.json": b"[" * 100_000}, "config.json: not JSON"),
        ({"tokenizer.json": None}, "no tokenizer"),
        ({"model-00002-of-00002.safetensors": None}, "model-00002-of-00002.safetensors: listed"),
        ({"model.safetensors.index.json": None}, "there are 2 weight files"),
        ({"model.safetensors.index.json": b"{}"}, "no 'weight_map'"),
        (
            {"model.safetensors.index.json": b'{"weight_map":{"a":"../../etc/passwd"}}'},
            "'..' part",
        ),
        ({"model.safetensors.index.json": b'{"weight_map":{"a":{"b":1}}}'}, "index.json:"),
    ],
)
def test_incomplete_or_hostile_folder_is_refused(
    store: Store, models: Path, change: dict[str, bytes | None], issue: str
) -> None:
    """What a server would miss, or be misled by, is listed before anything is installed."""
    merged = {**SAFETENSORS_FILES, **change}
    files = {path: data for path, data in merged.items() if data is not None}
    with pytest.raises(UnsuitableArtifact) as caught:
        _install(store, models, files)
    assert any(issue in found for found in caught.value.issues), caught.value.issues
    assert tree(models) == {}


def test_all_issues_are_reported_together(store: Store, models: Path) -> None:
    """An operator mends everything at once."""
    files = {"model.safetensors": b"x"}
    with pytest.raises(UnsuitableArtifact) as caught:
        _install(store, models, files)
    assert len(caught.value.issues) == 2


def test_other_formats_are_refused_with_a_way_out(store: Store, models: Path) -> None:
    """GGUF belongs elsewhere; pickled weights are no way."""
    runtime = VllmRuntime()
    with pytest.raises(UnsuitableArtifact) as caught:
        runtime.plan(*make_gguf(store), store, folder=models, name=None, when=WHEN)
    assert "--to ollama" in caught.value.hint
    pickled = make_artifact(store, {"config.json": b"{}", "model.bin": b"x"}, kind="pytorch")
    with pytest.raises(UnsuitableArtifact) as caught:
        runtime.plan(*pickled, store, folder=models, name=None, when=WHEN)
    assert "safetensors" in caught.value.hint


def test_folder_has_to_be_named(store: Store) -> None:
    """There is no usual place: the option is asked for."""
    artifact = make_artifact(store, SAFETENSORS_FILES)
    with pytest.raises(BadOption, match="models folder"):
        VllmRuntime().plan(*artifact, store, folder=None, name=None, when=WHEN)


def test_users_own_files_are_not_replaced_or_removed(store: Store, models: Path) -> None:
    """A folder with other things in it is a conflict; what was added later stays."""
    receipt = _install(store, models)
    note = models / MODEL / "my-notes.txt"
    note.write_text("keep me")
    with pytest.raises(TargetConflict):
        _install(store, models)
    VllmRuntime().undo(receipt)
    assert _content(models) == {f"{MODEL}/my-notes.txt": b"keep me"}


def test_same_sizes_are_not_taken_for_the_same_model(store: Store, elsewhere: Path) -> None:
    """A folder that differs in one byte only is another model."""
    _install(store, elsewhere)
    (elsewhere / MODEL / "LICENSE").write_bytes(b"TERMS\n")
    with pytest.raises(TargetConflict):
        _install(store, elsewhere)
    _install(store, elsewhere, replace=True)
    assert _content(elsewhere / MODEL) == SAFETENSORS_FILES


def test_other_file_system_gets_copies(store: Store, elsewhere: Path) -> None:
    """Across file systems bytes are copied, and a second install recognises them."""
    assert _install(store, elsewhere).count(Placement.COPY) == len(SAFETENSORS_FILES)
    again = _install(store, elsewhere)
    assert again.count(Placement.PRESENT) == len(SAFETENSORS_FILES)
    VllmRuntime().undo(again)
    assert _content(elsewhere) == {}
    assert not (elsewhere / MODEL).exists()


def test_full_disk_leaves_nothing(
    store: Store, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space is checked before the first byte is copied."""
    monkeypatch.setattr("modelvault.fsio.space.free_bytes", lambda _: 10)
    with pytest.raises(NoSpace):
        _install(store, elsewhere)
    assert _content(elsewhere) == {}


SMALL = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "templates/tool.jinja": b"{{ tools }}",
    "tokenizer.json": b"{}",
}


@pytest.mark.parametrize("replace", [False, True])
def test_killed_install_is_mended_by_the_next(tmp_path: Path, replace: bool) -> None:
    """Killed at any step: the old model, the new one or none stands there, never a part."""
    store, models = Store.create(tmp_path / "vault"), tmp_path / "models"
    old = {**SMALL, "README.md": b"# the older card\n"}
    make_artifact(store, SMALL)
    if replace:
        _install(store, models, old)
    for _ in kill_points(lambda: _install(store, models, SMALL, replace=replace)):
        if (models / MODEL).exists():
            assert _content(models / MODEL) in (old, SMALL)
        receipt = _install(store, models, SMALL, replace=replace)
        assert _content(models / MODEL) == SMALL
        assert not [path for path in tree(models) if ".modelvault-" in path]
        VllmRuntime().undo(receipt)
        assert _content(models) == {}
        shutil.rmtree(models)
        models.mkdir()
        if replace:
            _install(store, models, old)


def test_crash_between_the_two_renames_gives_the_old_model_back(store: Store, models: Path) -> None:
    """A replacement that died in the middle does not lose what it was to replace."""
    old = {**SAFETENSORS_FILES, "README.md": b"# the older card\n"}
    _install(store, models, old)
    (models / MODEL).rename(models / "acme" / ".modelvault-staged-old-Tiny-1B")
    with pytest.raises(TargetConflict):
        _install(store, models)
    assert _content(models / MODEL) == old


def test_killed_undo_is_completed_by_the_next(tmp_path: Path) -> None:
    """Killed at any step, undoing again ends it."""
    runtime = VllmRuntime()
    store, models = Store.create(tmp_path / "vault"), tmp_path / "models"
    models.mkdir()
    receipt = _install(store, models, SMALL)
    for _ in kill_points(partial(runtime.undo, receipt)):
        runtime.undo(receipt)
        assert tree(models) == {}
        _install(store, models, SMALL)
