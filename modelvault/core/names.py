"""Names that users write and paths that models carry, valid once parsed.

Example:
    >>> str(Reference.parse("meta-llama/Llama-3.1-8B@main:Q4_K_M"))
    'meta-llama/Llama-3.1-8B@main:Q4_K_M'
"""

import re
import unicodedata
from dataclasses import dataclass

from modelvault.errors import BadPath, BadReference

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_MODEL = re.compile(rf"({_NAME})/({_NAME})")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]{0,254}")
_VARIANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COMMIT = re.compile(r"[0-9a-f]{40}")

_DIGEST_START = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})", re.IGNORECASE)
_SHORTEST_START = 4

_REFERENCE_HINT = "write ORG/NAME, ORG/NAME@REVISION or ORG/NAME:VARIANT"

LONGEST_PATH = 1024
LONGEST_PATH_PART = 255

# Paths of parts that are plainly safe, as nearly all are: letters, digits and a few marks, none
# of them at an end where a system trims it, no name of a device. All others are looked at closely.
_PLAIN_PATH = re.compile(
    r"(?!/)(?:(?:^|/)(?!(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:[./]|\Z))"
    r"[A-Za-z0-9_.+=@,-]{0,127}[A-Za-z0-9_+=@,-])+",
    re.IGNORECASE | re.ASCII,
)

_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class ModelName:
    """A model's name as the Hub spells it: ``ORG/NAME``."""

    org: str
    name: str

    def __str__(self) -> str:
        """Return ``ORG/NAME``."""
        return f"{self.org}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "ModelName":
        """Return the model name written in ``text``.

        Raises:
            BadReference: The text is not two valid names around one slash.
        """
        match = _MODEL.fullmatch(text)
        if match is None or ".." in text or "--" in text:
            raise BadReference(f"{text!r} is not a model name", hint=_REFERENCE_HINT)
        return cls(org=match[1], name=match[2])


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """What a user writes to name an artefact: ``ORG/NAME[@REVISION][:VARIANT]``."""

    model: ModelName
    revision: str | None = None
    """Branch, tag, commit or unique commit prefix; None for the newest in the vault."""
    variant: str | None = None
    """Label of a conversion such as ``Q4_K_M``; None for the source as pulled."""

    def __str__(self) -> str:
        """Return the reference in the form that ``parse`` reads."""
        revision = f"@{self.revision}" if self.revision else ""
        variant = f":{self.variant}" if self.variant else ""
        return f"{self.model}{revision}{variant}"

    @property
    def label(self) -> str:
        """The reference without its revision, as people know it."""
        return str(Reference(model=self.model, variant=self.variant))

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Return the reference written in ``text``.

        Raises:
            BadReference: A part is missing, empty or holds characters that do not belong.
        """
        rest, colon, variant = text.partition(":")
        name, at, revision = rest.partition("@")
        if at and not is_revision(revision):
            raise BadReference(f"{revision!r} is not a revision", hint=_REFERENCE_HINT)
        if colon and not is_variant(variant):
            raise BadReference(f"{variant!r} is not a variant", hint=_REFERENCE_HINT)
        return cls(
            model=ModelName.parse(name),
            revision=revision if at else None,
            variant=variant if colon else None,
        )


@dataclass(frozen=True, slots=True, order=True)
class DigestStart:
    """What names an artefact by its identity: its digest, or so much of it as fits no other."""

    hex: str
    """4 to 64 lower-case hexadecimal digits."""

    def __str__(self) -> str:
        """Return ``sha256:`` and the digits."""
        return f"sha256:{self.hex}"

    @property
    def label(self) -> str:
        """The same: a digest has no revision to leave out."""
        return str(self)


AnyReference = Reference | DigestStart
"""What a user may write wherever an artefact is named."""


def parse_reference(text: str) -> AnyReference:
    """Return the reference written in ``text``: a name, or a digest or the start of one.

    Raises:
        BadReference: It is neither, or too few digits.
    """
    match = _DIGEST_START.fullmatch(text)
    if match is not None and len(match[1]) >= _SHORTEST_START:
        return DigestStart(match[1].lower())
    if match is not None or text.startswith("sha256:"):
        raise BadReference(
            f"{text!r} is not the start of a digest",
            hint=f"write {_SHORTEST_START} to 64 hexadecimal digits, as 'modelvault list' shows "
            "them, or ORG/NAME",
        )
    return Reference.parse(text)


def is_revision(text: str) -> bool:
    """Return whether ``text`` can be a branch, tag or commit."""
    return _REVISION.fullmatch(text) is not None and ".." not in text


def is_variant(text: str) -> bool:
    """Return whether ``text`` can label a variant."""
    return _VARIANT.fullmatch(text) is not None


def is_commit(text: str) -> bool:
    """Return whether ``text`` is a full git commit id."""
    return _COMMIT.fullmatch(text) is not None


def check_path(text: str) -> str:
    """Return ``text`` if it is a safe relative path, with ``/`` between its parts.

    Safe means: it stays below the folder it is joined to on every system a bundle may
    be unpacked on. Refused are absolute paths, ``.`` and ``..``, empty parts,
    back-slashes, colons, control characters, parts that Windows reserves or trims, and
    anything that is not in Unicode's composed form (two spellings, one name).

    Raises:
        BadPath: The path is not safe; the message names it.
    """
    if len(text) <= LONGEST_PATH and _PLAIN_PATH.fullmatch(text):
        return text
    if not text or len(text.encode("utf-8", "surrogatepass")) > LONGEST_PATH:
        raise BadPath(f"path of {len(text)} characters: 1 to {LONGEST_PATH} bytes are allowed")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise BadPath(f"path {text!r} holds control characters")
    if unicodedata.normalize("NFC", text) != text:
        raise BadPath(f"path {text!r} is not in Unicode normal form C")
    for part in text.split("/"):
        if part in ("", ".", ".."):
            raise BadPath(f"path {text!r} has an empty, '.' or '..' part")
        if any(character in part for character in '\\:*?"<>|'):
            raise BadPath(f"path {text!r} holds a character that some file systems refuse")
        if part.endswith((".", " ")) or part.startswith(" ") or _RESERVED.fullmatch(part):
            raise BadPath(f"path {text!r} has a part that some file systems reserve")
        if len(part.encode("utf-8")) > LONGEST_PATH_PART:
            raise BadPath(f"path {text!r} has a part longer than {LONGEST_PATH_PART} bytes")
    return text
