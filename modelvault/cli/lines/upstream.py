"""How a comparison with the sources reads: lines for people, a document for programs."""

from collections.abc import Sequence

from modelvault.app.upstream import Difference, Upstream
from modelvault.cli.lines import text

_SHOWN = 10


def upstream_lines(compared: Sequence[Upstream]) -> list[str]:
    """Return a line for each artefact, and below it what an update would change."""
    lines: list[str] = []
    for item in compared:
        at = f"{item.artifact.label} {item.origin.requested}"
        if item.difference is not None:
            old, new = item.artifact.revision[:12], item.commit[:12]
            lines.append(f"{at}: moved from {old} to {new}")
            lines += _difference_lines(item.difference)
        elif item.reason:
            lines.append(f"{at}: {item.state}: {item.reason}")
        else:
            lines.append(f"{at}: {item.state} at {item.commit[:12]}")
    return lines


def _difference_lines(difference: Difference) -> list[str]:
    listed = [
        f"  {word} {path}"
        for word, paths in (
            ("changed", difference.changed),
            ("added  ", difference.added),
            ("removed", difference.removed),
        )
        for path in paths
    ]
    if not listed:
        return ["  none of the files that were pulled differs"]
    more = len(listed) - _SHOWN
    rest = [f"  and {text.count(more, 'more file', 'more files')}"] if more > 0 else []
    return [*listed[:_SHOWN], *rest]
