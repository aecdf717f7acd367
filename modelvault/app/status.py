"""``status``: what is installed where, and whether it still stands."""

import logging
from dataclasses import dataclass

from modelvault.app.receipts import label_of, read_receipt
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.app.whole import Whole, whole_task
from modelvault.catalog.values import RecordedInstall
from modelvault.core.ports import Progress, Silence
from modelvault.errors import CatalogDamaged, StorageError, UnsupportedVersion
from modelvault.targets.standing import Standing, inspect_install

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRow:
    """One active install."""

    target: str
    name: str
    reference: str
    location: str
    since: str
    """UTC, ISO 8601."""
    state: str
    """``in place`` when every file is, byte for byte, what was installed; ``in place by size``
    when large ones were not read; else how many files are missing or changed, or why that
    cannot be told."""


@timed(_log, "status")
def status(vault: Vault, progress: Progress, *, read: bool = False) -> tuple[StatusRow, ...]:
    """Return the active installs, and whether their files still stand.

    An install whose receipt cannot be read is a row like any other, which says so.

    Args:
        vault: The vault that made the installs.
        progress: Told about hashed bytes.
        read: Read every file, instead of going by the size of large ones.
    """
    installs = vault.catalog.installs()
    total = sum(map(_size, installs))
    with whole_task(progress if read else Silence(), "check", total=total) as whole:
        return tuple(
            StatusRow(
                target=recorded.install.target,
                name=recorded.install.name,
                reference=label_of(vault, recorded),
                location=recorded.install.location,
                since=recorded.installed_at.isoformat(timespec="seconds"),
                state=_state(recorded, whole, read=read),
            )
            for recorded in installs
        )


def _size(recorded: RecordedInstall) -> int:
    """Return how many bytes there are to be read of an install; 0 where nobody can tell."""
    try:
        receipt = read_receipt(recorded)
    except (UnsupportedVersion, CatalogDamaged):
        return 0
    return sum(file.size for file in receipt.files if file.link is None)


def _state(recorded: RecordedInstall, whole: Whole, *, read: bool) -> str:
    try:
        with whole.part(_size(recorded)) as part:
            return _words(inspect_install(read_receipt(recorded), read=read, progress=part))
    except UnsupportedVersion:
        return "written by a newer release; update modelvault to uninstall it"
    except CatalogDamaged:
        return "receipt damaged"
    except StorageError as error:
        return f"cannot be read: {error.message}"


def _words(found: Standing) -> str:
    words = [f"{len(found.missing)} missing"] if found.missing else []
    words += [f"{len(found.changed)} changed"] if found.changed else []
    return ", ".join(words) or ("in place by size" if found.unread else "in place")
