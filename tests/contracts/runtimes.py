"""Every runtime of the contract suite, with artefacts that it can and cannot use."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelvault.core.artifact import Artifact
from modelvault.core.digest import Digest
from modelvault.core.manifest import Manifest
from modelvault.core.ports import Silence
from modelvault.store.blobs import Store
from modelvault.targets.llamacpp import LlamaCppRuntime
from modelvault.targets.ollama import OllamaRuntime
from modelvault.targets.receipt import Receipt
from modelvault.targets.runtime import InstallPlan, Runtime
from modelvault.targets.standing import Standing, inspect_install
from modelvault.targets.vllm import VllmRuntime
from tests.support.fakes_runtime import LinkingRuntime
from tests.support.guides import load_guide
from tests.support.installable import WHEN, make_artifact, make_gguf

Content = tuple[Artifact, Manifest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A runtime, and how to make what is installed into it."""

    make: Callable[[], Runtime]
    """Returns the runtime, blind to the environment of this process."""
    first: Callable[[Store], Content]
    """Puts an artefact into the store that the runtime can use."""
    second: Callable[[Store], Content]
    """Puts another one into the store; it differs in at least one file."""
    unsuitable: Callable[[Store], Content]
    """Puts one into the store that the runtime cannot use."""


TENSORS = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "templates/tool.jinja": b"{{ tools }}",
    "tokenizer.json": b"{}",
}
"""Few files: each of them is several steps to be killed at."""


def _tensors(**changed: bytes) -> Callable[[Store], Content]:
    files = {**TENSORS, **{name.replace("_", "."): data for name, data in changed.items()}}
    return lambda store: make_artifact(store, files)


def _gguf(seed: bytes) -> Callable[[Store], Content]:
    return lambda store: make_gguf(store, seed=seed)


_GGUF: dict[str, Any] = {"first": _gguf(b"\1"), "second": _gguf(b"\2"), "unsuitable": _tensors()}
_FOLDER: dict[str, Any] = {
    "first": _tensors(),
    "second": _tensors(config_json=b'{"a":1}', model_safetensors=b"WEIGHTS"),
    "unsuitable": _gguf(b"\1"),
}

ADAPTERS: Mapping[str, Adapter] = {
    "ollama": Adapter(make=lambda: OllamaRuntime({}), **_GGUF),
    "llamacpp": Adapter(make=LlamaCppRuntime, **_GGUF),
    "vllm": Adapter(make=VllmRuntime, **_FOLDER),
    "linking": Adapter(make=LinkingRuntime, **_FOLDER),
    "guide": Adapter(make=lambda: load_guide("add-a-runtime.md").ShelfRuntime(), **_GGUF),
}
"""By name: what ``--to`` says, and two of our own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An adapter with a store and an empty target folder."""

    runtime: Runtime
    store: Store
    folder: Path
    first: Content
    second: Content
    unsuitable: Content

    @classmethod
    def of(cls, adapter: Adapter, root: Path) -> "Case":
        """Return a case with a vault and a target below ``root``."""
        store = Store.create(root / "vault")
        folder = root / "target"
        folder.mkdir()
        return cls(
            runtime=adapter.make(),
            store=store,
            folder=folder,
            first=adapter.first(store),
            second=adapter.second(store),
            unsuitable=adapter.unsuitable(store),
        )

    def plan(self, which: Content, **options: Any) -> InstallPlan:
        """Plan an install under one and the same name."""
        settings = {"folder": self.folder, "name": "model", "when": WHEN, **options}
        return self.runtime.plan(*which, self.store, **settings)

    def install(self, which: Content, **options: Any) -> Receipt:
        """Plan and apply."""
        return self.runtime.apply(self.plan(which, **options))

    def tamper(self, receipt: Receipt) -> str:
        """Change the last byte of the last regular file; return its path.

        A new file takes its place, as an editor's would: the vault's stays as it is.
        """
        path = [file.path for file in receipt.files if file.link is None][-1]
        victim = Path(receipt.location) / path
        content = bytearray(victim.read_bytes())
        content[-1] ^= 1
        victim.with_name("new").write_bytes(content)
        os.replace(victim.with_name("new"), victim)
        return path


def is_visible(plan: InstallPlan) -> bool:
    """Return whether a server would see the model: its last file stands there."""
    return os.path.lexists(plan.location / plan.files[-1].path)


def is_complete(plan: InstallPlan) -> bool:
    """Return whether every file of a plan stands there, byte for byte, links by their text."""
    for file in plan.files:
        path = plan.location / file.path
        if file.link is not None:
            if not path.is_symlink() or os.readlink(path) != file.link:
                return False
        elif path.is_symlink() or not path.is_file() or Digest.of(path.read_bytes()) != file.digest:
            return False
    return True


def leftovers(folder: Path) -> list[Path]:
    """Return what an install has left unpublished."""
    return list(folder.rglob(".modelvault-*"))


def files_below(folder: Path) -> list[str]:
    """Return the paths of everything but folders."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


def inspect(receipt: Receipt, *, read: bool) -> Standing:
    """Return what stands of an install."""
    return inspect_install(receipt, read=read, progress=Silence())
