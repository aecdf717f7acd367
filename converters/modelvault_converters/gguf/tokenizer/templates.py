"""Chat templates: where publishers keep them, and the names that GGUF gives them.

``chat_template.jinja`` comes before the template in ``tokenizer_config.json``, as in
transformers, and that before ``chat_template.json``. Each may be joined by the files of
``additional_chat_templates``.

Source:
    https://huggingface.co/docs/transformers/chat_templating_writing (files);
    llama.cpp ``gguf-py/gguf/gguf_writer.py`` (``add_chat_template``: names).
"""

import re
from pathlib import PurePosixPath
from typing import Any

from modelvault.errors import MalformedRecord, UnsupportedTokenizer
from modelvault_converters.checkpoint import Checkpoint

DEFAULT = "default"
_FILE = "chat_template.jinja"
_OTHERS = "additional_chat_templates/"
_FOREIGN = re.compile(r"[^A-Za-z0-9]")


def read_templates(source: Checkpoint, settings: dict[str, Any]) -> dict[str, str]:
    """Return name → Jinja text; ``default`` is the one that runtimes take.

    Args:
        source: The model.
        settings: ``tokenizer_config.json``, or empty.

    Raises:
        UnsupportedTokenizer: A template is not text.
        MalformedRecord: A file does not parse.
    """
    value: object = settings.get("chat_template")
    if source.has(_FILE):
        value = _read_text(source, _FILE)
    elif value is None:
        value = source.optional_object("chat_template.json").get("chat_template")
    templates: dict[str, str] = {}
    for name, text in _named(value):
        if text is None or text == "":
            continue
        if not _is_text(name) or not _is_text(text):
            raise UnsupportedTokenizer(
                "the chat template is neither text nor a list of named texts",
                hint="compare tokenizer_config.json with the one on the Hub",
            )
        templates[_key(str(name))] = str(text)
    for path in source.inside(_OTHERS, ".jinja"):
        templates[_key(PurePosixPath(path).stem)] = _read_text(source, path)
    return {name: text for name, text in templates.items() if name and text}


def _named(value: object) -> list[tuple[object, object]]:
    """Return names and templates as they are said: plain, as a list of objects, or by name."""
    if isinstance(value, dict):
        return list(value.items())
    if not isinstance(value, list):
        return [(DEFAULT, value)]
    return [
        (item.get("name"), item.get("template")) if isinstance(item, dict) else (None, item)
        for item in value
    ]


def _key(name: str) -> str:
    """Return a name as a part of a key: other signs than letters and digits become ``_``."""
    return _FOREIGN.sub("_", name)


def _read_text(source: Checkpoint, path: str) -> str:
    """Return a file's text with line ends as Python reads them, which is what both others do."""
    try:
        text = source.read(path).decode()
    except UnicodeDecodeError as error:
        raise MalformedRecord(f"{path} is not UTF-8 text") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
