"""What a model card declares, reduced to what an artefact's record keeps.

Cards are written by strangers: values are cleaned of control characters, bounded in
length and number, and anything that is neither text nor a list of texts is left out.

Source: https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

import json
import re
from collections.abc import Mapping, Sequence

import yaml

from modelvault.core.artifact import License

README = "README.md"
"""Where a model card stands."""

CARD_LIMIT = 4 * 1024 * 1024
"""Bytes of a README within which its front matter has to end."""

ADAPTER_LIMIT = 1024 * 1024
"""Largest ``adapter_config.json`` that is read, in bytes."""

_FIELDS = (
    "base_model",
    "base_model_relation",
    "datasets",
    "language",
    "library_name",
    "pipeline_tag",
    "tags",
)
_LICENSE = ("license", "license_name", "license_link")
_LONGEST_BLOCK = 64 * 1024
"""Characters of YAML that are parsed: cards with benchmark tables run to megabytes."""
_KEY = re.compile(r"([A-Za-z_][\w-]*)\s*:")
_LONGEST_TEXT = 1024
_MOST_ITEMS = 100
_FENCE = "---"


def read_card(readme: bytes) -> tuple[License | None, dict[str, str], tuple[str, ...]]:
    """Return the licence and the fields that a README declares, and what to note of it.

    Args:
        readme: The file's first bytes; more than ``CARD_LIMIT`` are not looked at.
    """
    try:
        fields = parse_front_matter(readme)
    except ValueError as error:
        return None, {}, (f"{README}: {error}; no licence is recorded",)
    return read_license(fields), choose_fields(fields), ()


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
    end = next((n for n, line in enumerate(lines) if n and line.rstrip() == _FENCE), None)
    if end is None:
        raise ValueError(f"the front matter does not end within {CARD_LIMIT} bytes")
    block = _wanted_lines(lines[1:end])
    if len(block) > _LONGEST_BLOCK:
        raise ValueError(f"the front matter's fields exceed {_LONGEST_BLOCK} characters")
    try:
        # not libyaml's loader: deep nesting overflows its stack and ends the process
        fields = yaml.load(block, Loader=yaml.BaseLoader)  # noqa: S506 - makes texts only
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError("the front matter is not YAML") from error
    return fields if isinstance(fields, Mapping) else {}


def _wanted_lines(lines: Sequence[str]) -> str:
    """Return the blocks of the fields that are read: each goes on to the next key."""
    wanted = {*_FIELDS, *_LICENSE}
    kept: list[str] = []
    keep = False
    for line in lines:
        if match := _KEY.match(line):
            keep = match[1] in wanted
        if keep:
            kept.append(line)
    return "\n".join(kept)


def read_adapter(config: bytes) -> dict[str, str]:
    """Return the card fields that an ``adapter_config.json`` stands for.

    Args:
        config: The file's bytes; at most ``ADAPTER_LIMIT`` are parsed.

    Raises:
        ValueError: Too long, or not JSON.

    Source: https://huggingface.co/docs/peft (``PeftConfig``).
    """
    if len(config) > ADAPTER_LIMIT:
        raise ValueError(f"it is longer than {ADAPTER_LIMIT} bytes")
    try:
        fields = json.loads(config)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    base = _text(fields.get("base_model_name_or_path")) if isinstance(fields, dict) else ""
    return {"base_model": base, "base_model_relation": "adapter"} if base else {}


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
