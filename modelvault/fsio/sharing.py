"""Who may use what is made: a group that shares a folder shares what is made in it.

A folder is shared where its group may write in it: by a umask of 002, or because somebody
gave it to a group (``chgrp``, ``chmod g+ws``). What is made there is then the group's as well,
whatever the umask of the one who makes it; elsewhere the umask alone decides.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path

from modelvault.fsio.advice import set_mode
from modelvault.fsio.translation import UNSUPPORTED, storage_errors

_GROUP_FILE = stat.S_IRGRP | stat.S_IWGRP
_GROUP_FOLDER = stat.S_IRWXG


def is_shared(folder: Path) -> bool:
    """Return whether the group of a folder may write in it; False where nothing can be told."""
    try:
        return bool(folder.stat().st_mode & stat.S_IWGRP)
    except OSError:
        return False


def share_file(descriptor: int, folder: Path) -> None:
    """Let the group write a file that was just made in a folder, where it shares the folder."""
    found = os.fstat(descriptor)
    if _shares(folder, found.st_gid):
        mode = stat.S_IMODE(found.st_mode) | _GROUP_FILE
        if mode != stat.S_IMODE(found.st_mode):
            set_mode(descriptor, mode)


def share_folder(folder: Path) -> None:
    """Let the group write in a folder that was just made, where it shares the one above.

    Only where the folder above hands its group down (``g+s``): in one like ``/tmp``, which
    everybody may write in, the group of a new folder is that of its maker.
    """
    above = folder.parent.stat().st_mode
    if not above & stat.S_ISGID or not above & stat.S_IWGRP:
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & _GROUP_FOLDER != _GROUP_FOLDER:
        with contextlib.suppress(PermissionError):  # a file system without modes
            folder.chmod(mode | _GROUP_FOLDER)


def _shares(folder: Path, group: int) -> bool:
    try:
        found = folder.stat()
    except OSError:
        return False
    return bool(found.st_mode & stat.S_IWGRP) and found.st_gid == group


def keeps_modes(folder: Path) -> bool:
    """Return whether a file in the folder can be closed to everybody but its owner.

    FAT, exFAT, NTFS and many network shares show what they were mounted with, whatever is asked
    for. An empty file is made and removed again to see.

    Raises:
        StorageError: The file system refuses.
    """
    probe = folder / f".modelvault-{os.getpid()}-{os.urandom(6).hex()}"
    with storage_errors(folder):
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                os.fchmod(descriptor, 0o600)
            except OSError as error:
                if error.errno not in UNSUPPORTED | {errno.EPERM, errno.EACCES}:
                    raise
            return not stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077
        finally:
            os.close(descriptor)
            probe.unlink(missing_ok=True)
