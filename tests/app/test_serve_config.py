"""Configurations of what is installed: the receipt's path and name, and files never lost."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelvault.app.install import install, plan_install, uninstall
from modelvault.app.pull import plan_pull, pull
from modelvault.app.serve_config import Configuration, configure, write_files
from modelvault.app.vault import Vault
from modelvault.core.names import ModelName, Reference
from modelvault.core.ports import Silence
from modelvault.errors import (
    ArtifactNotFound,
    BadOption,
    BadPath,
    InstallNotFound,
    StorageError,
    TargetConflict,
    UnsuitableArtifact,
)
from modelvault.fsio import TEMPORARY_PREFIX
from modelvault.serving.choices import Form, Server
from modelvault.serving.wishes import Wishes
from modelvault.sources.folder.source import FolderSource
from modelvault.store.paths import VaultPaths
from tests.support.installable import SAFETENSORS_FILES
from tests.support.killpoints import kill_points
from tests.support.tinygguf import tiny_llama

pytestmark = pytest.mark.memory

FOLDER, FILE = "acme/Tiny-1B", "acme/Tiny-1B-GGUF"


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    """A vault with a model folder and a GGUF."""
    root = tmp_path / "vault"
    files = {FOLDER: SAFETENSORS_FILES, FILE: {"Tiny-1B-Q4_K_M.gguf": tiny_llama()}}
    with Vault.open(root, create=True) as vault:
        for label, content in files.items():
            folder = tmp_path / "models" / label
            for path, data in content.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(data)
            source = FolderSource(folder, ModelName.parse(label))
            pull(vault, plan_pull(source, VaultPaths(root), include=(), exclude=()), Silence())
        yield vault


def put(vault: Vault, label: str, target: str, folder: Path, name: str | None = None) -> None:
    """Install a model."""
    folder.mkdir(exist_ok=True)
    plan = plan_install(vault, Reference.parse(label), target, folder, name, replace=False)
    install(vault, plan, Silence())


def make(
    vault: Vault,
    label: str = FOLDER,
    server: Server = Server.VLLM,
    form: Form = Form.SYSTEMD,
    **wishes: Any,
) -> Configuration:
    """Return a configuration."""
    return configure(vault, Reference.parse(label), server, form, Wishes(**wishes))


@pytest.mark.parametrize("server", [Server.VLLM, Server.SGLANG])
def test_installed_folder_is_served_where_it_stands(
    vault: Vault, tmp_path: Path, server: Server
) -> None:
    """Path and name are the receipt's, for every server that reads such a folder."""
    put(vault, FOLDER, "vllm", tmp_path / "srv", "team/chat")
    made = make(vault, server=server)
    assert str(made.setup.model.path) == f"{tmp_path}/srv/team/chat"
    assert made.setup.model.name == "team/chat"
    assert str(made.setup.model.inside) == "team/chat"
    assert made.notes == ()
    assert f"{tmp_path}/srv/team/chat" in made.files[0].text
    assert str(made.artifact.digest) in made.files[0].text


def test_installed_gguf_is_served_as_a_file(vault: Vault, tmp_path: Path) -> None:
    """llama.cpp is given the file that the receipt lists."""
    put(vault, FILE, "llamacpp", tmp_path / "gguf")
    made = make(vault, FILE, Server.LLAMACPP)
    assert str(made.setup.model.path) == f"{tmp_path}/gguf/Tiny-1B-GGUF.gguf"
    assert str(made.setup.model.inside) == "Tiny-1B-GGUF.gguf"


def test_installed_ollama_model_is_served_from_its_store(vault: Vault, tmp_path: Path) -> None:
    """Ollama is given its store, and knows the model by the name of the install."""
    put(vault, FILE, "ollama", tmp_path / "ollama", "chat:small")
    made = make(vault, FILE, Server.OLLAMA)
    assert str(made.setup.model.path) == f"{tmp_path}/ollama"
    assert made.setup.model.name == "chat:small"
    with pytest.raises(BadOption, match="--name cannot"):
        make(vault, FILE, Server.OLLAMA, name="other")


def test_context_is_never_more_than_the_model_has(vault: Vault, tmp_path: Path) -> None:
    """4,096 tokens of a config, 128 of a GGUF's header; asking for more is warned of."""
    put(vault, FOLDER, "vllm", tmp_path / "srv")
    put(vault, FILE, "llamacpp", tmp_path / "gguf")
    assert make(vault).setup.memory.context == 4096
    assert make(vault, FILE, Server.LLAMACPP).setup.memory.context == 128
    more = make(vault, context=9000)
    assert more.setup.memory.context == 9000
    assert "4096 tokens" in more.notes[0]


def test_model_that_is_not_installed_says_how_to(vault: Vault) -> None:
    """The hint is the command; with ``--path`` it is not needed."""
    with pytest.raises(InstallNotFound) as caught:
        make(vault)
    assert "modelvault install acme/Tiny-1B --to vllm --dir DIR" in caught.value.hint
    assert "--path" in caught.value.hint
    made = make(vault, path="/elsewhere/Tiny-1B", name="chat")
    assert (str(made.setup.model.path), made.setup.model.name) == ("/elsewhere/Tiny-1B", "chat")
    assert make(vault, path="/elsewhere/Tiny-1B").setup.model.name == FOLDER


def test_model_that_was_uninstalled_is_not_served(vault: Vault, tmp_path: Path) -> None:
    """A receipt that was taken back counts no more; files that are gone are told of."""
    put(vault, FOLDER, "vllm", tmp_path / "srv")
    shutil.rmtree(tmp_path / "srv" / "acme")
    assert "is not there" in make(vault).notes[0]
    uninstall(vault, FOLDER, None, None)
    with pytest.raises(InstallNotFound):
        make(vault)


def test_model_that_is_installed_twice_is_not_guessed(vault: Vault, tmp_path: Path) -> None:
    """Both places are named; one is chosen by its path."""
    put(vault, FOLDER, "vllm", tmp_path / "a")
    put(vault, FOLDER, "vllm", tmp_path / "b")
    with pytest.raises(BadOption) as caught:
        make(vault)
    assert sorted(caught.value.issues) == [f"{tmp_path}/{name}/{FOLDER}" for name in "ab"]
    assert make(vault, path=f"{tmp_path}/b/{FOLDER}").setup.model.name == FOLDER


def test_proxy_needs_no_install(vault: Vault) -> None:
    """It often stands on another host: the reference gives it its name."""
    made = make(vault, FILE, Server.OLLAMA, Form.NGINX)
    assert [file.path for file in made.files] == ["models-tiny-1b-gguf-latest.conf"]


@pytest.mark.parametrize(
    ("label", "server", "way"),
    [
        (FILE, Server.VLLM, "--for llamacpp or ollama"),
        (FILE, Server.SGLANG, "--for llamacpp or ollama"),
        (FOLDER, Server.OLLAMA, "modelvault convert acme/Tiny-1B --to gguf:Q4_K_M"),
        (FOLDER, Server.LLAMACPP, "--for vllm or sglang"),
    ],
)
@pytest.mark.parametrize("wishes", [{}, {"path": "/srv/x"}])
def test_format_that_the_server_does_not_read_is_refused(
    vault: Vault, label: str, server: Server, way: str, wishes: dict[str, Any]
) -> None:
    """With the way that leads on, whether or not a path is given."""
    with pytest.raises(UnsuitableArtifact) as caught:
        make(vault, label, server, **wishes)
    assert way in caught.value.hint


@pytest.mark.parametrize(
    ("server", "wishes"),
    [
        (Server.VLLM, {"path": "relative/x"}),
        (Server.VLLM, {"path": "/srv/../etc"}),
        (Server.VLLM, {"path": "/"}),
        (Server.VLLM, {"path": ""}),
        (Server.VLLM, {"path": "/srv/x.gguf"}),
        (Server.VLLM, {"path": "/srv/a\nb"}),
        (Server.VLLM, {"path": "/srv/x", "name": ""}),
        (Server.VLLM, {"path": "/srv/x", "name": "--trust-remote-code"}),
        (Server.VLLM, {"path": "/srv/x", "name": "x" * 201}),
        (Server.VLLM, {"path": "/srv/x", "name": "a\nb"}),
        (Server.LLAMACPP, {"path": "/srv/x"}),
        (Server.OLLAMA, {"path": "/srv/x", "name": "no such name"}),
    ],
)
def test_path_or_name_that_cannot_be_is_refused(
    vault: Vault, server: Server, wishes: dict[str, Any]
) -> None:
    """Relative, above itself, of another kind, an option in disguise, two lines."""
    label = FOLDER if server is Server.VLLM else FILE
    with pytest.raises(BadOption):
        make(vault, label, server, **wishes)


def test_unknown_model_is_not_found(vault: Vault) -> None:
    """As for every other command."""
    with pytest.raises(ArtifactNotFound):
        make(vault, "acme/other")


def written(made: Configuration, folder: Path) -> dict[str, str]:
    """Write a configuration; return path → state."""
    return {file.path: file.state for file in write_files(made.files, folder, replace=False)}


def test_files_are_written_and_written_again(vault: Vault, tmp_path: Path) -> None:
    """Into a folder that is made; the second time nothing changes."""
    made = make(vault, path="/srv/x")
    folder = tmp_path / "new" / "out"
    assert set(written(made, folder).values()) == {"written"}
    for file in made.files:
        assert (folder / file.path).read_text() == file.text
        assert (folder / file.path).stat().st_mode & 0o777 == 0o644
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert set(written(made, folder).values()) == {"unchanged"}
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_file_that_was_changed_is_never_lost(vault: Vault, tmp_path: Path) -> None:
    """All that differ are named and nothing is written, not even what is missing."""
    made = make(vault, path="/srv/x")
    first, second, third, *_ = made.files
    written(made, tmp_path / "out")
    (tmp_path / "out" / first.path).write_text("mine\n")
    (tmp_path / "out" / second.path).write_text("mine, too\n")
    (tmp_path / "out" / third.path).unlink()
    with pytest.raises(TargetConflict) as caught:
        written(made, tmp_path / "out")
    assert caught.value.issues == tuple(f"{tmp_path}/out/{file.path}" for file in (first, second))
    assert (tmp_path / "out" / first.path).read_text() == "mine\n"
    assert not (tmp_path / "out" / third.path).exists()
    states = write_files(made.files, tmp_path / "out", replace=True)
    assert [file.state for file in states[:4]] == ["replaced", "replaced", "written", "unchanged"]
    assert (tmp_path / "out" / first.path).read_text() == first.text


def test_what_is_no_file_is_not_replaced(vault: Vault, tmp_path: Path) -> None:
    """A folder in the way, or an attack: a link that would write elsewhere."""
    made = make(vault, path="/srv/x")
    (tmp_path / "out" / made.files[0].path).mkdir(parents=True)
    with pytest.raises(TargetConflict, match="other files"):
        write_files(made.files, tmp_path / "out", replace=True)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / made.files[0].path).symlink_to(tmp_path / "victim")
    with pytest.raises(BadPath, match="symbolic link"):
        write_files(made.files, tmp_path / "link", replace=True)
    assert not (tmp_path / "victim").exists()


def test_folder_that_cannot_be_made_is_a_storage_error(vault: Vault, tmp_path: Path) -> None:
    """Not a traceback: a file stands where the folder should."""
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(StorageError, match="file"):
            write_files(make(vault, path="/srv/x").files, folder, replace=False)
    assert (tmp_path / "file").read_text() == "x"


def test_killed_at_any_step_leaves_whole_files(vault: Vault, tmp_path: Path) -> None:
    """Each file is there complete or not at all, and the next run completes them."""
    made, folder = make(vault, path="/srv/x"), tmp_path / "out"
    whole = {file.path: file.text for file in made.files}

    def files() -> dict[str, str]:
        return {
            path.relative_to(folder).as_posix(): path.read_text()
            for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(TEMPORARY_PREFIX)
        }

    for _ in kill_points(lambda: write_files(made.files, folder, replace=False)):
        assert files().items() <= whole.items()
        write_files(made.files, folder, replace=False)
        assert files() == whole
        shutil.rmtree(folder)
