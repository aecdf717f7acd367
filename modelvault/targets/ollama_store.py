"""What stands in an Ollama store: the names of its models, and the blobs that they need.

Names are in two trees. ``manifests/HOST/NAMESPACE/MODEL/TAG`` are files; servers that keep
manifests as blobs have ``manifests-v2/…`` with links to them, which are read by their text and
not followed. Reading is bounded, and what cannot be read counts as needing everything.

Ollama takes two spellings of a name for one. Before it looks for a model it replaces each of the
four parts by the spelling that *any* model of the store has for that part, in no order. So a part
that is spelled in two ways anywhere makes models be found at random.

Source: https://github.com/ollama/ollama (``server/routes.go``, ``manifest/manifest.go``), v0.33.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.errors import MalformedRecord, TargetConflict
from modelvault.targets import ollama_model
from modelvault.targets.ollama_model import OllamaName
from modelvault.targets.standing import read_link

LINKED = "manifests-v2"
"""Tree of links to manifests that are blobs."""

_PARTS = ("host", "namespace", "model", "tag")
_TREES = ("manifests", LINKED)
_BLOB = re.compile(r"(?:\.\./){4}blobs/sha256-([0-9a-f]{64})")


def standing_names(root: Path) -> Iterator[OllamaName]:
    """Yield the models of a store; what cannot be a model's name is passed over.

    Raises:
        StorageError: The file system refuses.
    """
    for tree in _TREES:
        for path in _manifests(root / tree):
            name = OllamaName(**dict(zip(_PARTS, path.relative_to(root / tree).parts, strict=True)))
            if name.is_valid:
                yield name


def _manifests(folder: Path, depth: int = len(_PARTS)) -> Iterator[Path]:
    """Yield what stands at a manifest's depth in a tree, sorted; folders there are none.

    Raises:
        StorageError: A folder cannot be read: what it holds may be anything.
    """
    try:
        with fsio.storage_errors(folder):
            names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    for name in names:
        path = folder / name
        if depth > 1:
            if fsio.is_folder(path):
                yield from _manifests(path, depth - 1)
        elif path.is_symlink() or not fsio.is_folder(path):
            yield path


def settle_name(root: Path, wanted: OllamaName) -> OllamaName:
    """Return a name as the models of a store spell its parts.

    Args:
        root: The store's folder, which need not exist.
        wanted: In any spelling.

    Raises:
        TargetConflict: The store itself spells a part in several ways.
        StorageError: The file system refuses.
    """
    standing = list(standing_names(root))
    settled = wanted
    for part in _PARTS:
        value: str = getattr(wanted, part)
        spellings = sorted(
            {
                spelled
                for name in standing
                if (spelled := str(getattr(name, part))).lower() == value.lower()
            }
        )
        if len(spellings) > 1:
            raise TargetConflict(
                f"{root}: its models spell {' and '.join(map(repr, spellings))}, which Ollama "
                f"takes for one and finds at random; {wanted} would be among them",
                hint="let one of them go: 'ollama cp' it to the other spelling, then 'ollama rm' "
                "it; or choose another name with --as",
            )
        settled = replace(settled, **{part: spellings[0] if spellings else value})
    return settled


def is_shadowed(root: Path, name: OllamaName) -> bool:
    """Return whether a link hides what stands in ``manifests`` under the same name."""
    return os.path.lexists(root / LINKED / name.path.partition("/")[2])


def named_blobs(root: Path, manifest: str) -> set[str]:
    """Return the paths of the blobs that a manifest names; none where it is unreadable."""
    with contextlib.suppress(MalformedRecord):
        return {ollama_model.blob_path(digest) for digest in _references(root, root / manifest)}
    return set()


def needed_blobs(root: Path, *, besides: set[str]) -> set[str] | None:
    """Return the paths of the blobs that models need; None when one cannot be read.

    Args:
        root: The store's folder.
        besides: Paths of manifests that do not count.
    """
    found: set[str] = set()
    for tree in _TREES:
        for path in _manifests(root / tree):
            # Hidden files cannot be tags; the server does not read them either.
            if path.name.startswith(".") or path.relative_to(root).as_posix() in besides:
                continue
            try:
                found |= {ollama_model.blob_path(digest) for digest in _references(root, path)}
            except MalformedRecord:
                return None
    return found


def _references(root: Path, path: Path) -> set[Digest]:
    """Return the blobs that a manifest or a link to one needs.

    Raises:
        MalformedRecord: It cannot be read.
    """
    if path.is_relative_to(root / LINKED) and path.is_symlink():
        match = _BLOB.fullmatch(read_link(path) or "")
        if match is None:
            raise MalformedRecord(f"{path}: a link to no blob")
        digest = Digest(match[1])
        return {digest, *_references_of(root, root / ollama_model.blob_path(digest), nested=True)}
    return _references_of(root, path, nested=path.is_relative_to(root / LINKED))


def _references_of(root: Path, path: Path, *, nested: bool) -> set[Digest]:
    """Return what a manifest names; of a list of manifests what each of them names, too."""
    if not fsio.is_regular(path) or path.stat().st_size > ollama_model.MANIFEST_LIMIT:
        raise MalformedRecord(f"{path}: no manifest")
    with fsio.storage_errors(path):
        data = path.read_bytes()
    if not nested:
        return ollama_model.parse_references(data)
    direct, manifests = ollama_model.parse_manifests(data)
    for digest in manifests:
        direct |= {
            digest,
            *_references_of(root, root / ollama_model.blob_path(digest), nested=False),
        }
    return direct
