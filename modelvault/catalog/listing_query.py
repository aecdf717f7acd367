"""Which artefacts a list shows, in which order: parsed from ``K=V``, and put into SQL.

The database chooses and sorts, so that a list of many stays as quick as one of all. Importable
without SQLAlchemy; the SQL is the same for SQLite and PostgreSQL.

Example:
    >>> ListingQuery.parse(["model=qwen/*"], "-size").statement()[1]
    {'v0': 'qwen/%'}
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from modelvault.catalog.listing_view import COLUMNS, ORDER, SOURCE
from modelvault.errors import BadOption

_LISTED = "',' || coalesce({0}, '') || ','"
_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "reference": "model || CASE WHEN variant IS NULL THEN '' ELSE ':' || variant END",
        "model": "model",
        "revision": "revision",
        "variant": "coalesce(variant, '')",
        "format": "format",
        "quantization": "coalesce(quantization, '')",
        "license": "coalesce(license, '')",
        "label": _LISTED.format("labels"),
        "installed": _LISTED.format("targets"),
        "id": "digest",
        "added": "created_at",
    }
)
"""Key of a filter → what it is compared with."""
_LISTS = ("label", "installed")
_STARTS = ("revision", "id", "added")
"""Keys whose value may be the start of what they stand for."""
_SORTS: Mapping[str, str] = MappingProxyType(
    {
        "reference": ORDER,
        "size": "size",
        "files": "file_count",
        "added": "ordinal",
        "format": "coalesce(quantization, format)",
        "license": "coalesce(license, '')",
        "revision": "revision",
        "variant": "coalesce(variant, '')",
        "id": "digest",
    }
)
"""Key of an order → what it goes by."""
_ALIASES = MappingProxyType(
    {
        "licence": "license",
        "quantisation": "quantization",
        "artifact": "id",
        "digest": "id",
        "labels": "label",
        "target": "installed",
        "added_at": "added",
        "file_count": "files",
    }
)
"""Further spellings: British ones, and those of the documents for programs."""

FILTERS = tuple(_COLUMNS)
"""Keys of ``--filter``."""
SORTS = tuple(_SORTS)
"""Keys of ``--sort``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What one ``K=V`` asks for."""

    key: str
    """One of ``FILTERS``."""
    value: str
    """Compared without regard to case; ``*`` stands for any characters, ``?`` for one."""

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Return the condition written in ``text``.

        Raises:
            BadOption: It is not ``K=V``, or no such key.
        """
        key, equals, value = text.partition("=")
        known = _ALIASES.get(key, key)
        if not equals or known not in _COLUMNS:
            raise BadOption(
                f"--filter {text}: write K=V, with K one of {', '.join(FILTERS)}",
                hint="V may hold * and ?; an empty V stands for what has none",
            )
        return cls(key=known, value=value)

    def sql(self, name: str) -> str:
        """Return the condition as SQL; the pattern is the parameter of this name."""
        compared = f"lower({_COLUMNS[self.key]}) LIKE :{name} ESCAPE '\\'"
        if self.key == "format":  # a list shows the one or the other under this heading
            compared += f" OR lower({_COLUMNS['quantization']}) LIKE :{name} ESCAPE '\\'"
        return f"({compared})"

    @property
    def pattern(self) -> str:
        """The value as a pattern of SQL."""
        value = self.value.lower()
        if self.key == "id":
            value = value.removeprefix("sha256:")
        pattern = "".join(_PATTERN.get(character, character) for character in value)
        if self.key in _LISTS:
            return f"%,{pattern},%" if pattern else ",,"
        return f"{pattern}%" if self.key in _STARTS else pattern


_PATTERN = {"*": "%", "?": "_", "%": r"\%", "_": r"\_", "\\": r"\\"}
"""Character of a value → what it is in a pattern of SQL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingQuery:
    """What a list shows."""

    conditions: tuple[Condition, ...] = ()
    """Of several of one key any holds; all keys have to."""
    sort: str = "reference"
    """One of ``SORTS``."""
    descending: bool = False

    @classmethod
    def parse(cls, filters: Iterable[str], sort: str | None) -> "ListingQuery":
        """Return the query that options ask for.

        Args:
            filters: ``K=V`` each.
            sort: A key; ``-`` before it turns the order around. None for the usual order.

        Raises:
            BadOption: A key is not known.
        """
        key = (sort or "reference").removeprefix("-")
        known = _ALIASES.get(key, key)
        if known == "model":
            known = "reference"
        if known not in _SORTS:
            raise BadOption(
                f"--sort {sort}: sort by {', '.join(SORTS)}",
                hint="- before it turns the order around: --sort=-size",
            )
        return cls(
            conditions=tuple(map(Condition.parse, filters)),
            sort=known,
            descending=sort is not None and sort.startswith("-"),
        )

    def statement(self) -> tuple[str, dict[str, str]]:
        """Return the SQL, and the values of its parameters."""
        values: dict[str, str] = {}
        alternatives: dict[str, list[str]] = {}
        for number, condition in enumerate(self.conditions):
            values[f"v{number}"] = condition.pattern
            alternatives.setdefault(condition.key, []).append(condition.sql(f"v{number}"))
        wheres = [f"({' OR '.join(items)})" for items in alternatives.values()]
        where = f" WHERE {' AND '.join(wheres)}" if wheres else ""
        direction = " DESC" if self.descending else ""
        order = ", ".join(f"{part}{direction}" for part in _SORTS[self.sort].split(", "))
        if self.sort != "reference":
            order += f", {ORDER}"
        # Only constants of this module are put together here; what users write is a parameter.
        return f"SELECT {COLUMNS} FROM {SOURCE}{where} ORDER BY {order}", values  # noqa: S608


EVERYTHING = ListingQuery()
"""Every artefact, sorted by model, oldest first."""
