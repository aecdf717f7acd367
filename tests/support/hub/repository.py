"""Repositories of the loopback hub: commits, branches, tags and files.

File contents are byte strings or files on disk; the latter are hashed once and served
with ``sendfile``, so that a file of many gigabytes costs no memory.
"""

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

LFS_PATTERNS = (
    "*.safetensors",
    "*.gguf",
    "*.bin",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.h5",
    "*.onnx",
    "*.msgpack",
    "*.model",
    "*.npz",
    "*.pkl",
)
"""Paths that go through LFS unless a repository says otherwise."""

LFS_ABOVE = 10 * 1024 * 1024
"""Files above this many bytes are in LFS whatever their name."""

Content = bytes | Path


class HubFile:
    """One file of a commit."""

    def __init__(self, path: str, content: Content, *, lfs: bool, scan: str = "safe") -> None:
        """Describe the file; hashes are computed when first asked for."""
        self.xet_hash: str | None = None
        self.path = path
        self.content = content
        self.lfs = lfs
        self.scan = scan
        self.size = len(content) if isinstance(content, bytes) else content.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content, in hex."""
        return self._hash(hashlib.sha256())

    @cached_property
    def blob_id(self) -> str:
        """Git's blob id: of the content, or of the pointer for LFS files."""
        if self.lfs:
            return hashlib.sha1(b"blob %d\0" % len(self.pointer) + self.pointer).hexdigest()
        return self._hash(hashlib.sha1(b"blob %d\0" % self.size))

    @cached_property
    def pointer(self) -> bytes:
        """The LFS pointer file."""
        lines = (
            "version https://git-lfs.github.com/spec/v1",
            f"oid sha256:{self.sha256}",
            f"size {self.size}",
        )
        return ("\n".join(lines) + "\n").encode()

    def _hash(self, hasher: Any) -> str:
        if isinstance(self.content, bytes):
            hasher.update(self.content)
        else:
            with open(self.content, "rb") as file:
                while chunk := file.read(4 * 1024 * 1024):
                    hasher.update(chunk)
        return str(hasher.hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One state of a repository."""

    id: str
    title: str
    files: Mapping[str, HubFile]


@dataclass(slots=True)
class Repository:
    """A model repository; change it while the hub runs, through its methods."""

    name: str
    gated: str | None = None
    """``auto`` or ``manual``; None when open."""
    private: bool = False
    lfs: tuple[str, ...] = LFS_PATTERNS
    scans: dict[str, str] = field(default_factory=dict)
    """Path → ``safe``, ``unsafe``, ``suspicious`` …; others are ``safe``."""
    xet_hashes: dict[str, str] = field(default_factory=dict)
    """Path → name of the content in the Xet storage."""
    commits: list[Commit] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    mutex: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def commit(
        self, files: Mapping[str, Content], *, title: str = "Upload model", branch: str = "main"
    ) -> str:
        """Make a commit that holds exactly these files; move the branch; return its id."""
        listed = {path: self._file(path, files[path]) for path in sorted(files)}
        seed = hashlib.sha1(f"{self.name} {len(self.commits)} {title}".encode())
        for path, file in listed.items():
            seed.update(f"{path} {file.blob_id}\n".encode())
        commit = Commit(id=seed.hexdigest(), title=title, files=listed)
        with self.mutex:
            self.commits.append(commit)
            self.branches[branch] = commit.id
        return commit.id

    def tag(self, name: str, commit: str) -> None:
        """Name a commit."""
        with self.mutex:
            self.tags[name] = commit

    def find(self, revision: str) -> Commit | None:
        """Return the commit that a branch, tag, id or id prefix stands for."""
        with self.mutex:
            wanted = self.branches.get(revision) or self.tags.get(revision) or revision
            if len(wanted) < 7:
                return None
            matches = [commit for commit in self.commits if commit.id.startswith(wanted)]
        return matches[0] if matches else None

    def card(self, commit: Commit) -> dict[str, Any]:
        """Return the front matter of the commit's README, as the Hub reads it."""
        readme = commit.files.get("README.md")
        if readme is None:
            return {}
        content = (
            readme.content if isinstance(readme.content, bytes) else readme.content.read_bytes()
        )
        parts = content.decode("utf-8", "replace").split("---\n", 2)
        if len(parts) < 3 or parts[0]:
            return {}
        data = yaml.safe_load(parts[1])
        return data if isinstance(data, dict) else {}

    def _file(self, path: str, content: Content) -> HubFile:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        lfs = size > LFS_ABOVE or any(fnmatchcase(path, pattern) for pattern in self.lfs)
        file = HubFile(path, content, lfs=lfs, scan=self.scans.get(path, "safe"))
        file.xet_hash = self.xet_hashes.get(path)
        return file


def read_folder(folder: Path, *, skip: Iterable[str] = (".git", ".cache")) -> dict[str, Content]:
    """Return path → file for everything in a folder."""
    skipped = set(skip)
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and skipped.isdisjoint(path.relative_to(folder).parts)
    }


def front_matter(card: Mapping[str, Any], *, text: str = "# A model\n") -> bytes:
    """Return a README whose front matter is ``card``."""
    return f"---\n{yaml.safe_dump(dict(card), sort_keys=True)}---\n{text}".encode()
