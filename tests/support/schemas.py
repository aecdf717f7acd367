"""Hold what commands print with ``--json`` against the published schemas."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

FOLDER = Path(__file__).parents[2] / "docs" / "reference" / "json"

_GROUPS = {"bundle", "gguf", "key", "trust"}
_ALIASES = {"ls": "list", "rm": "remove"}
_WITH_VALUE = {"--vault", "--log-file"}


@functools.cache
def validator(name: str) -> Draft202012Validator:
    """Return the validator of a published schema, such as ``pull`` or ``events``."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=FormatChecker())


def command_of(arguments: Sequence[str]) -> str:
    """Return the command that a command line runs, such as ``bundle show``; empty for none."""
    words = iter(arguments)
    named: list[str] = []
    for word in words:
        if word in _WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            named.append(_ALIASES.get(word, word))
            if len(named) == 2 or word not in _GROUPS:
                break
    return " ".join(named)


def check_document(command: str, document: Any) -> None:
    """Assert that a document is what the command's schema describes."""
    validator(command.replace(" ", "-")).validate(document)


def check_output(arguments: Sequence[str], stdout: str, stderr: str) -> None:
    """Assert that a command line printed what the schemas describe, where it asks for JSON."""
    if "--json" not in arguments or {"--version", "--help", "-h"} & {*arguments}:
        return
    if stdout:
        check_document(command_of(arguments), json.loads(stdout))
    for line in stderr.splitlines():
        validator("events").validate(json.loads(line))
