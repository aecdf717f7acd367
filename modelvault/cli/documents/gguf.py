"""What ``gguf split`` and ``gguf merge`` print; a new variant is printed as its names."""

from dataclasses import dataclass

from modelvault.cli.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenShards(Document):
    """Shards that were written."""

    files: tuple[str, ...]
    """Paths, the first shard first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedFile(Document):
    """The file that shards were put into."""

    file: str
    """Its path."""
