"""Texts without what their readers may not know: tokens, passwords, signed addresses.

The second line of defence: no part of ModelVault logs such things on purpose, but messages of
servers and libraries may hold them.

Example:
    >>> redact("https://cdn.example/file?X-Amz-Signature=abc: 403")
    'https://cdn.example/file?…: 403'
"""

import os
import re
from collections.abc import Iterable, Mapping

_RULES = (
    (re.compile(r"([a-z][a-z0-9+.-]*://)[^\s/@]+@", re.IGNORECASE), r"\1…@"),
    (re.compile(r"([a-z][a-z0-9+.-]*://[^\s?\"'<>]*)\?[^\s\"'<>:,;)]*", re.IGNORECASE), r"\1?…"),
    (re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]+", re.IGNORECASE), r"\1 …"),
    (re.compile(r"\bhf_[A-Za-z0-9_]{4,}"), "hf_…"),
    (
        re.compile(
            r"\b((?:x-amz-|x-goog-)?(?:signature|credential|security-token)|sig|token|password)"
            r"(\s*[=:]\s*)[^\s&,;]+",
            re.IGNORECASE,
        ),
        r"\1\2…",
    ),
)
_SHORTEST_SECRET = 6
"""Characters; anything shorter would blot out ordinary words."""

_SECRET_VARIABLES = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACE_HUB_TOKEN",
    "MODELVAULT_KEY_PASSPHRASE",
)


def known_secrets(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the secrets that the environment holds.

    Args:
        environment: None for the process's own.
    """
    found = os.environ if environment is None else environment
    values = (found.get(name, "").strip() for name in _SECRET_VARIABLES)
    return tuple(value for value in values if len(value) >= _SHORTEST_SECRET)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text with an ellipsis in place of each secret.

    Args:
        text: A message.
        secrets: Words that are secret as they stand.
    """
    for secret in secrets:
        text = text.replace(secret, "…")
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
