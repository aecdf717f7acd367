"""JSON Schemas (draft 2020-12) of what ``--json`` prints, made from the documents' types.

``python -m modelvault.cli.documents.schema FOLDER`` writes one file for each command, and one
for the events on standard error. A schema describes exactly this release: a later one may add
keys.

Source: https://json-schema.org/draft/2020-12
"""

import ast
import collections.abc
import dataclasses
import datetime as dt
import inspect
import itertools
import json
import sys
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from modelvault.cli.documents.document import Document
from modelvault.cli.documents.outputs import EVENTS, OUTPUTS
from modelvault.cli.table import every_command
from modelvault.core.digest import Digest
from modelvault.core.names import ModelName, Reference

Schema = dict[str, Any]

EVENTS_FILE = "events.schema.json"

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN: dict[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    types.NoneType: {"type": "null"},
    Path: {"type": "string"},
    ModelName: {"type": "string"},
    Reference: {"type": "string"},
    Digest: {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
    dt.datetime: {
        "type": "string",
        "format": "date-time",
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
    },
    Any: {},
}


def file_name(command: str) -> str:
    """Return the name of a command's schema, such as ``bundle-show.schema.json``."""
    return f"{command.replace(' ', '-')}.schema.json"


def schemas() -> dict[str, Schema]:
    """Return every schema by the name of its file."""
    found = {EVENTS_FILE: _document("A line on standard error", "modelvault --json", EVENTS)}
    for command, row in every_command().items():
        title = f"modelvault {command} --json"
        found[file_name(command)] = _document(row.help, title, OUTPUTS[command])
    return found


def _document(description: str, title: str, kind: object) -> Schema:
    definitions: dict[str, Schema] = {}
    body = _schema(kind, definitions)
    return {
        "$schema": _DIALECT,
        "title": title,
        "description": description,
        **body,
        "$defs": dict(sorted(definitions.items())),
    }


def _schema(kind: Any, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a type; documents in it go into ``definitions``.

    Raises:
        TypeError: No document has fields of this type.
    """
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    if isinstance(kind, type) and issubclass(kind, Document):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}  # named already, should the type contain itself
            definitions[kind.__name__] = _object(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
    return _compound(origin, arguments, definitions)


def _compound(origin: Any, arguments: tuple[Any, ...], definitions: dict[str, Schema]) -> Schema:
    if origin is types.UnionType:
        return {"anyOf": [_schema(item, definitions) for item in arguments]}
    if origin is tuple and arguments[1:] == (...,):
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is collections.abc.Mapping:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    raise TypeError(f"no schema for {origin}")


def _object(kind: type[Document], definitions: dict[str, Schema]) -> Schema:
    hints = typing.get_type_hints(kind)
    told = _descriptions(kind)
    properties = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type] # each one is a dataclass
        schema = _schema(hints[field.name], definitions)
        if field.name in told:
            schema["description"] = told[field.name]
        properties[field.name] = schema
    return {
        "type": "object",
        "description": _plain_text(kind.__doc__ or ""),
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _descriptions(kind: type) -> dict[str, str]:
    """Return what the texts below a dataclass's fields say, those of its bases included."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = typing.cast("ast.ClassDef", ast.parse(inspect.getsource(base)).body[0]).body
        for field, text in itertools.pairwise(body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                found[field.target.id] = _plain_text(text.value.value)
    return found


def _plain_text(docstring: str) -> str:
    return " ".join(docstring.split()).replace("``", "`")


def encode_schema(schema: Schema) -> str:
    """Return the text of a schema's file."""
    return json.dumps(schema, ensure_ascii=False, indent=2) + "\n"


def main(folder: Path) -> None:
    """Write every schema into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (folder / name).write_text(encode_schema(schema), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
