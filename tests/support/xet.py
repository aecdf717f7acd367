"""The Hub's Xet storage for tests: hf_xet's own storage in a folder, filled by hf_xet."""

import os
import subprocess
import sys
from pathlib import Path

from modelvault.sources.fetch.libraries.xet import XetAccess
from tests.support.needs import require

UPLOAD = """
import sys, hf_xet
with hf_xet.XetSession().new_upload_commit(endpoint=sys.argv[1]) as commit:
    upload = commit.start_upload_file(sys.argv[2])
print(upload.result().xet_info.hash)
"""


class LocalCas:
    """A content-addressed storage in a folder."""

    def __init__(self, folder: Path) -> None:
        """Use a folder; it need not exist."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.asked = 0
        """How many times access was asked for."""

    @property
    def url(self) -> str:
        """The endpoint, as hf_xet understands it."""
        return f"local://{self.folder}"

    def upload(self, content: bytes | Path) -> str:
        """Put a file into the storage; return its Xet hash."""
        path = content if isinstance(content, Path) else self.folder.with_name("upload")
        if isinstance(content, bytes):
            path.write_bytes(content)
        # in a process of its own: the library keeps threads, and hears of signals
        done = subprocess.run(
            [sys.executable, "-c", UPLOAD, self.url, str(path)],
            env={**os.environ, "HF_XET_CACHE": str(self.folder.with_name("cache"))},
            capture_output=True,
            text=True,
            check=False,
        )
        if "No module named 'hf_xet'" in done.stderr:
            require("hf_xet")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def access(self) -> XetAccess:
        """Give access, as the Hub would."""
        self.asked += 1
        return access_to(self.url)


def access_to(cas: str) -> XetAccess:
    """Return a permission for a CAS that asks for none."""
    return XetAccess(cas=cas, token="lent-token", expires=4_000_000_000)
