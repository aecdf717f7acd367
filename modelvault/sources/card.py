"""What a model card declares, reduced to what an artefact's record keeps.

Cards are written by strangers: values are cleaned of control characters, bounded in
length and number, and anything that is neither text nor a list of texts is left out.

Source: https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

from collections.abc import Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]

from modelvault.core.artifact import License

CARD_LIMIT = 1024 * 1024
"""Largest front matter that is parsed, in bytes."""

_FIELDS = (
    "base_model",
    "base_model_relation",
    "datasets",
    "language",
    "library_name",
    "pipeline_tag",
    "tags",
)
_LONGEST_TEXT = 1024
_MOST_ITEMS = 100
_FENCE = "---"
_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def read_license(card: Mapping[str, object]) -> License | None:
    """Return the licence that a card's fields declare, or None where they declare none."""
    identifier = _text(card.get("license"))
    if not identifier:
        return None
    return License(
        id=identifier,
        name=_text(card.get("license_name")),
        link=_text(card.get("license_link")),
    )


def choose_fields(card: Mapping[str, object]) -> dict[str, str]:
    """Return the fields of a card that ``Artifact.card`` keeps, as text; lists by commas."""
    chosen = {name: _text(card.get(name)) for name in _FIELDS}
    return {name: text for name, text in chosen.items() if text}


def parse_front_matter(readme: bytes) -> Mapping[str, object]:
    """Return the fields between the first two ``---`` lines of a README.

    Scalars stay text: no tags, dates or numbers are interpreted, so that a language
    ``no`` is Norwegian and no object is ever constructed.

    Args:
        readme: The file's first bytes; more than ``CARD_LIMIT`` are not looked at.

    Returns:
        The fields; empty where the README has no front matter.

    Raises:
        ValueError: The front matter does not end within the limit, or is not YAML.
    """
    lines = readme[:CARD_LIMIT].decode("utf-8", "replace").splitlines()
    if not lines or lines[0].lstrip("\ufeff").rstrip() != _FENCE:
        return {}
    ends = [number for number, line in enumerate(lines) if number and line.rstrip() == _FENCE]
    if not ends:
        raise ValueError(f"the front matter does not end within {CARD_LIMIT} bytes")
    try:
        fields = yaml.load("\n".join(lines[1 : ends[0]]), Loader=_LOADER)  # noqa: S506 - texts only
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError("the front matter is not YAML") from error
    if not isinstance(fields, Mapping):
        raise ValueError("the front matter is not a set of fields")  # noqa: TRY004
    return fields


def clean(text: str, *, longest: int = _LONGEST_TEXT) -> str:
    """Return text fit for records and terminals: printable, encodable, bounded."""
    encodable = text.encode("utf-8", "replace").decode("utf-8")
    printable = "".join(character if character.isprintable() else " " for character in encodable)
    return printable.strip()[:longest]


def _text(value: object) -> str:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list | tuple):
        items = [clean(item) for item in value[:_MOST_ITEMS] if isinstance(item, str)]
        return clean(", ".join(item for item in items if item), longest=4 * _LONGEST_TEXT)
    return ""
