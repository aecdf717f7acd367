"""What sizes and beginnings show to be wrong with the carriers of a bundle."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelvault import fsio
from modelvault.bundle.format.index import HEAD, Carrier, Index
from modelvault.bundle.medium.files import open_regular
from modelvault.core.digest import Digest
from modelvault.errors import BundleDamaged


def find_faults(folders: Sequence[Path], index: Index) -> tuple[str, ...]:
    """Return what is wrong with the carriers, as far as sizes and beginnings show it.

    Reads at most ``HEAD`` bytes of each. Names carriers that are missing, truncated,
    oversized, swapped or altered, and files called like carriers that the index does not list.

    Args:
        folders: Where they stand: one folder, or those of a set of media, of which each has
            some of them.
        index: Says what each is.

    Raises:
        StorageError: The operating system refuses.
    """
    owners = {carrier.head: carrier.name for carrier in index.carriers}
    listed = {carrier.name for carrier in index.carriers}
    found: dict[str, Path] = {}
    strange: list[str] = []
    for folder in folders:
        with fsio.storage_errors(folder):
            names = sorted(filter(index.layout.is_carrier, os.listdir(folder)))
        for name in names:
            if name not in listed:
                strange.append(f"{name}: not part of this bundle (does it belong to another?)")
            elif name in found:
                strange.append(f"{name}: stands in '{found[name]}' and in '{folder}'")
            else:
                found[name] = folder
    faults = [
        _fault(found.get(carrier.name, folders[0]), carrier, owners) for carrier in index.carriers
    ]
    return (*(fault for fault in faults if fault), *strange)


def _fault(folder: Path, carrier: Carrier, owners: Mapping[Digest, str]) -> str:
    """Return what is wrong with one carrier, or nothing."""
    try:
        descriptor = open_regular(folder / carrier.name)
    except FileNotFoundError:
        return f"{carrier.name}: missing"
    except BundleDamaged as error:
        return f"{carrier.name}: {error.message}"
    with os.fdopen(descriptor, "rb") as file, fsio.storage_errors(folder / carrier.name):
        size = os.fstat(descriptor).st_size
        head = Digest(hashlib.sha256(file.read(HEAD)).hexdigest())
    fault = ""
    if head != carrier.head and head in owners:
        fault = f"holds what {owners[head]} should hold: swapped"
    elif size != carrier.size:
        kind = "truncated" if size < carrier.size else "oversized"
        fault = f"{size} bytes instead of {carrier.size}: {kind}"
    elif head != carrier.head:
        fault = "its beginning has been altered, or it is of another bundle"
    return fault and f"{carrier.name}: {fault}"
