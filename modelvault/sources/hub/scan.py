"""What the Hub's scanner says of a repository, reduced to words.

The answer's shape is not documented: whatever does not look as expected counts as unknown,
and never as safe.

Source: what huggingface_hub hands through as ``ModelInfo.security_repo_status``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelvault.sources.card import clean

_MOST = 10_000
"""Findings that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One repository's scan."""

    summary: str
    """In words; empty where the Hub says nothing that can be understood."""
    files: Mapping[str, str] = field(hash=False)
    """Path → level (``unsafe``, ``suspicious`` …) of the files with findings."""


def read_scan(status: object) -> Scan:
    """Return what a repository's security status says."""
    if not isinstance(status, Mapping):
        return Scan(summary="", files={})
    listed = status.get("filesWithIssues")
    files = dict(map(_read_finding, listed[:_MOST])) if isinstance(listed, list) else {}
    files.pop("", None)
    done = status.get("scansDone")
    if not isinstance(done, bool) or not isinstance(listed, list):
        summary = ""
    elif files:
        worst = ", ".join(f"{path} ({level})" for path, level in sorted(files.items())[:3])
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        summary = f"findings in {worst}{more}"
    else:
        summary = "no findings"
    if summary and not done:
        summary += "; not all files are scanned yet"
    return Scan(summary=summary, files=files)


def _read_finding(item: object) -> tuple[str, str]:
    path = item.get("path") if isinstance(item, Mapping) else None
    level = item.get("level") if isinstance(item, Mapping) else None
    if not isinstance(path, str) or not isinstance(level, str):
        return "", ""
    return clean(path), clean(level, longest=32)
