"""The JSON the Hub's API answers with, computed from a repository; no HTTP in here.

Source: what huggingface_hub 2.4 parses (``ModelInfo``, ``RepoFile``, ``GitRefs`` …).
"""

from collections.abc import Iterable
from typing import Any

from tests.support.hub.repository import Commit, HubFile, Repository

DATE = "2026-01-01T00:00:00.000Z"


def model_info(
    repository: Repository, commit: Commit, *, blobs: bool = False, security: bool = False
) -> dict[str, Any]:
    """Return what ``/api/models/…`` answers."""
    card = repository.card(commit)
    tags = list(card.get("tags") or [])
    if "license" in card:
        tags.append(f"license:{card['license']}")
    info: dict[str, Any] = {
        "_id": "0" * 24,
        "id": repository.name.removeprefix("datasets/"),
        "modelId": repository.name,
        "author": repository.name.partition("/")[0],
        "sha": commit.id,
        "createdAt": DATE,
        "lastModified": DATE,
        "private": repository.private,
        "gated": repository.gated or False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": tags,
        "cardData": card,
        "siblings": [_sibling(file, blobs=blobs) for file in commit.files.values()],
        "spaces": [],
    }
    for name in ("pipeline_tag", "library_name"):
        if name in card:
            info[name] = card[name]
    if security:
        issues = [file for file in commit.files.values() if file.scan != "safe"]
        info["securityRepoStatus"] = {
            "scansDone": True,
            "filesWithIssues": [{"path": file.path, "level": file.scan} for file in issues],
        }
    return info


def _sibling(file: HubFile, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": file.path}
    entry: dict[str, Any] = {"rfilename": file.path, "blobId": file.blob_id, "size": file.size}
    if file.lfs:
        entry["lfs"] = {
            "sha256": file.sha256,
            "size": file.size,
            "pointerSize": len(file.pointer),
        }
    return entry


def tree(
    commit: Commit, *, below: str = "", recursive: bool = False, expand: bool = False
) -> list[dict[str, Any]]:
    """Return the entries of ``/tree/…``: folders and files, sorted by path."""
    prefix = f"{below}/" if below else ""
    folders: set[str] = set()
    files: list[HubFile] = []
    for path, file in commit.files.items():
        if not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        depth = len(parts) - 1 if recursive else min(1, len(parts) - 1)
        folders.update(prefix + "/".join(parts[: index + 1]) for index in range(depth))
        if recursive or len(parts) == 1:
            files.append(file)
    entries = [_folder_entry(path) for path in folders]
    entries += [file_entry(file, commit, expand=expand) for file in files]
    return sorted(entries, key=lambda entry: str(entry["path"]))


def paths_info(commit: Commit, paths: Iterable[str], *, expand: bool) -> list[dict[str, Any]]:
    """Return what ``/paths-info/…`` answers; unknown paths are left out."""
    return [
        file_entry(commit.files[path], commit, expand=expand)
        for path in paths
        if path in commit.files
    ]


def _folder_entry(path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": "0" * 40, "size": 0, "path": path}


def file_entry(file: HubFile, commit: Commit, *, expand: bool) -> dict[str, Any]:
    """Return one file as ``/tree`` and ``/paths-info`` show it."""
    entry: dict[str, Any] = {
        "type": "file",
        "oid": file.blob_id,
        "size": file.size,
        "path": file.path,
    }
    if file.lfs:
        entry["lfs"] = {
            "oid": file.sha256,
            "size": file.size,
            "pointerSize": len(file.pointer),
        }
    if file.xet_hash:
        entry["xetHash"] = file.xet_hash
    if expand:
        entry["lastCommit"] = {"id": commit.id, "title": commit.title, "date": DATE}
        entry["securityFileStatus"] = {
            "status": file.scan,
            "avScan": {"status": file.scan, "virusFound": False, "virusNames": None},
            "pickleImportScan": None,
        }
    return entry


def commits(repository: Repository) -> list[dict[str, Any]]:
    """Return what ``/commits/…`` answers, newest first."""
    return [
        {"id": commit.id, "title": commit.title, "message": "", "authors": [], "date": DATE}
        for commit in reversed(repository.commits)
    ]


def refs(repository: Repository) -> dict[str, Any]:
    """Return what ``/refs`` answers."""

    def listed(names: dict[str, str], kind: str) -> list[dict[str, str]]:
        return [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
            for name, commit in sorted(names.items())
        ]

    return {
        "branches": listed(repository.branches, "heads"),
        "tags": listed(repository.tags, "tags"),
        "converts": [],
        "pullRequests": [],
    }
