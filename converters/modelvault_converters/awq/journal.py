"""What an interrupted conversion needs to go on, in one file that is replaced as a whole.

The file is written after what it vouches for is on the disk: layer by layer, the layer's tensors
and the activations that enter the next layer. It names the work it belongs to by a digest over
everything that shapes the result; another work, or another release, begins anew.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modelvault.core.protocol import RESUME
from modelvault_converters.durable import flush_folder

_LARGEST = 64 * 1024 * 1024
_PART = f"{RESUME}.part"


@dataclass(slots=True, kw_only=True)
class Journal:
    """How far a conversion has come."""

    work: str
    """Digest over everything that shapes the result."""
    layers: int = 0
    """Layers finished and durable."""
    seconds: list[float] = field(default_factory=list)
    """Time each of them took."""
    errors: list[tuple[float, float]] = field(default_factory=list)
    """Relative squared error of each: plain rounding, result."""
    unreached: int = 0
    """Experts that too few tokens reached to be searched."""

    def save(self, folder: Path) -> None:
        """Replace the file, durably."""
        path = folder / _PART
        with open(path, "wb") as stream:
            stream.write(json.dumps(asdict(self)).encode())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(path, folder / RESUME)
        flush_folder(folder)


def digest_work(facts: Mapping[str, Any]) -> str:
    """Return a digest of everything that shapes a result; ``facts`` are JSON values."""
    return "sha256:" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_journal(folder: Path, work: str) -> Journal | None:
    """Return the journal of this work; None where there is none, or one that cannot be used."""
    try:
        with open(folder / RESUME, "rb") as stream:
            value = json.loads(stream.read(_LARGEST))
        journal = Journal(
            work=str(value["work"]),
            layers=int(value["layers"]),
            seconds=[float(item) for item in value["seconds"]],
            errors=[(float(plain), float(error)) for plain, error in value["errors"]],
            unreached=int(value["unreached"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    whole = len(journal.seconds) == len(journal.errors) == journal.layers
    return journal if whole and journal.work == work else None


def sweep(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove what an interrupted run left, except the files named.

    Without a journal the folder is not ours, and stays as it is. The journal goes first, for
    what it vouches for is about to go.
    """
    if not (folder / RESUME).exists():
        return
    if RESUME not in keep:
        (folder / RESUME).unlink()
    for path in list(folder.iterdir()):
        if path.name in keep:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    flush_folder(folder)
