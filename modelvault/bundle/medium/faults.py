"""What sizes and beginnings show to be wrong with the carriers of a bundle."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelvault import fsio
from modelvault.bundle.format.index import HEAD, Carrier, Index
from modelvault.bundle.medium.files import open_regular
from modelvault.core.digest import Digest
from modelvault.errors import BundleDamaged


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with one carrier, or that a file is none of this bundle's."""

    message: str
    """One sentence that begins with the file's name."""
    carrier: int | None
    """Position in the index; None for a file that the index does not list."""
    usable: int = 0
    """Bytes from the carrier's beginning that may still be as they were signed."""


def find_faults(folders: Sequence[Path], index: Index) -> tuple[Fault, ...]:
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
        _fault(found.get(carrier.name, folders[0]), position, carrier, owners)
        for position, carrier in enumerate(index.carriers)
    ]
    return (
        *(fault for fault in faults if fault is not None),
        *(Fault(message=message, carrier=None) for message in strange),
    )


def _fault(
    folder: Path, position: int, carrier: Carrier, owners: Mapping[Digest, str]
) -> Fault | None:
    """Return what is wrong with one carrier."""

    def fault(message: str, usable: int = 0) -> Fault:
        return Fault(message=f"{carrier.name}: {message}", carrier=position, usable=usable)

    try:
        descriptor = open_regular(folder / carrier.name)
    except FileNotFoundError:
        return fault("missing")
    except BundleDamaged as error:
        return fault(error.message)
    with os.fdopen(descriptor, "rb") as file, fsio.storage_errors(folder / carrier.name):
        size = os.fstat(descriptor).st_size
        head = Digest(hashlib.sha256(file.read(HEAD)).hexdigest())
    found = None
    if head != carrier.head and head in owners:
        found = fault(f"holds what {owners[head]} should hold: swapped")
    elif size > carrier.size:
        found = fault(f"{size} bytes instead of {carrier.size}: oversized")
    elif size < carrier.size:
        found = fault(f"{size} bytes instead of {carrier.size}: truncated", usable=size)
    elif head != carrier.head:
        message = "its beginning has been altered, or it is of another bundle"
        found = fault(message, usable=size)
    return found
