"""What crashes left behind, told by its names from what others keep in the same folders."""

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

from modelvault import fsio
from modelvault.core.digest import Digest
from modelvault.core.protocol import RESUME
from modelvault.store.paths import VaultPaths, parent_of_conversion
from modelvault.store.places import list_folder, shards

_KEY = re.compile(r"[a-z0-9][a-z0-9_-]*")


def find_leftovers(
    paths: VaultPaths, places: frozenset[Path], *, partials: bool, referenced: AbstractSet[Digest]
) -> Iterator[Path]:
    """Yield what crashes left behind; see ``Store.leftovers``.

    Args:
        paths: The vault.
        places: Its folders of partials.
        partials: Also yield what could be finished.
        referenced: Digests in the catalogue: a conversion goes on while its parent is one.
    """
    for folder in shards(paths):
        for name in list_folder(folder):
            if name.startswith(fsio.TEMPORARY_PREFIX):
                yield folder / name
    for place in sorted(places):
        for name in list_folder(place):
            if name.startswith(fsio.TEMPORARY_PREFIX) or fsio.is_lock_entry(name):
                yield place / name
                continue
            key = name.removesuffix(".journal").removesuffix(".lock")
            if (place / name).is_symlink():
                continue
            if _KEY.fullmatch(key) and (partials or _is_abandoned(paths, place / key, referenced)):
                yield place / name


def _is_abandoned(paths: VaultPaths, path: Path, referenced: AbstractSet[Digest]) -> bool:
    """Return whether a partial or a working folder is of no further use."""
    parent = parent_of_conversion(path.name)
    if parent is not None:
        return parent not in referenced or not fsio.is_regular(path / RESUME)
    kind, _, hex_digits = path.name.partition("-")
    if kind == "sha256" and fsio.is_regular(paths.blob(Digest(hex_digits))):
        return True
    return not fsio.is_regular(path)
