r"""Lists of SHA-256 checksums, as ``sha256sum`` writes them: where one is, and what it says.

A list is read in every spelling that is in use, one file a line::

    <64 hex digits>  config.json          # sha256sum, read as text
    <64 hex digits> *model.safetensors    # the same, read as binary
    SHA256 (tokenizer.json) = <64 hex>    # sha256sum --tag, the BSDs
    SHA2-256(merges.txt)= <64 hex>        # openssl dgst

Lines may end as on Windows; blank lines and those that begin with ``#`` say nothing. A name
with ``\`` before its line is escaped; ``./`` before a name is dropped. The list's own name is
passed over: ``sha256sum * > SHA256SUMS`` writes one for the file that it is writing.

Names are taken as they stand: whoever uses them checks that they are safe.

Source: GNU coreutils, "cksum common options"; FreeBSD's ``sha256(1)``; ``openssl-dgst(1)``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from modelvault.core.digest import Digest
from modelvault.core.manifest import MOST_FILES
from modelvault.errors import BadOption, SourceError

SUMS_LIMIT = 32 * 1024 * 1024
"""Largest list that is read, in bytes."""

_MOST_LINES = 2 * MOST_FILES
"""Lines, those that say nothing included."""
_LONGEST_LINE = 8192
"""Bytes: the longest path with every character escaped, a digest, and some white space."""
_LONGEST_URL = 2048
_MOST_ISSUES = 100
_PORTS = {"http": 80, "https": 443}

_HEX = r"([0-9a-fA-F]{64})"
_GNU = re.compile(rf"(\\?){_HEX}[ \t]+\*?(.+)")
_TAGGED = re.compile(rf"(\\?)SHA(?:2-)?256 ?\((.+)\) ?= ?{_HEX}")
_ESCAPE = re.compile(r"\\(.?)")
_ESCAPED = {"\\": "\\", "n": "\n", "r": "\r"}

_URL_HINT = "name the list itself, such as https://HOST/models/NAME/SHA256SUMS"


@dataclass(frozen=True, slots=True)
class SumsUrl:
    """Where a list is; the files that it names stand beside it and below.

    Example:
        >>> SumsUrl.parse("https://Files.example:443/tiny/SHA256SUMS").url_of("a b.txt")
        'https://files.example/tiny/a%20b.txt'
    """

    text: str
    """The URL: scheme and host in lower case, no port that goes without saying."""

    def __str__(self) -> str:
        """Return the URL."""
        return self.text

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the URL that a user wrote, spelled in the one way that records know.

        Raises:
            BadOption: It names no file on a web server, or holds more than that; where it may
                hold a password, the message does not quote it.
        """
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise BadOption("the address is not a URL", hint=_URL_HINT) from None
        if not is_url(text) or not host or port == 0:
            raise BadOption("the address is not an http or https URL", hint=_URL_HINT)
        if "@" in parts.netloc or "?" in text or "#" in text:
            raise BadOption(
                f"{parts.scheme}://{host}: the address holds a user, a query or a fragment",
                hint="it is recorded as it stands: leave them out, and give a login with"
                " --token-file or in ~/.netrc",
            )
        if not text.isascii() or not text.isprintable() or set(text) & set(' "<>\\^`{|}'):
            raise BadOption(
                "the address holds characters that no URL has",
                hint="percent-encode them, as in https://HOST/caf%C3%A9/SHA256SUMS",
            )
        segments = parts.path.split("/")[1:]
        if not segments or not all(segments) or {".", ".."} & set(map(unquote, segments)):
            raise BadOption(f"'{text:.200}' names no file on a web server", hint=_URL_HINT)
        if len(text) > _LONGEST_URL:
            raise BadOption(f"the address is longer than {_LONGEST_URL} characters")
        host = f"[{host}]" if ":" in host else host
        shown = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
        return cls(f"{parts.scheme}://{host}{shown}{parts.path}")

    @property
    def name(self) -> str:
        """What the list is called beside the files: ``SHA256SUMS``."""
        return unquote(self.text.rpartition("/")[2])

    @property
    def host(self) -> str:
        """The server's name or address, without its port."""
        return urlsplit(self.text).hostname or ""

    @property
    def is_secure(self) -> bool:
        """Whether nobody on the way can alter what the server says."""
        return self.text.startswith("https://")

    def url_of(self, path: str) -> str:
        """Return where a file is that the list names; ``path`` has been checked."""
        return f"{self.text.rpartition('/')[0]}/{quote(path)}"


def is_url(text: str) -> bool:
    """Return whether a text is meant as the address of something on a web server."""
    return text.lower().startswith(("http://", "https://"))


def parse_sums_digest(text: str) -> Digest:
    """Return what a list is pinned to, written with ``sha256:`` or as ``sha256sum`` prints it.

    Raises:
        BadDigest: It is no such digest.
    """
    return Digest.parse(text if ":" in text else f"sha256:{text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SumsList:
    """What a list says."""

    digest: Digest
    """Of its bytes: another spelling of the same list has another."""
    files: Mapping[str, Digest] = field(hash=False)
    """Name → SHA-256, sorted by name."""

    @property
    def revision(self) -> str:
        """The start of the digest of the list as ``sha256sum`` would write it, sorted.

        The same files have the same revision, in whatever order and form they are listed.
        """
        lines = (f"{digest.hex}  {name}\n" for name, digest in self.files.items())
        return Digest.of("".join(lines).encode("utf-8", "surrogateescape")).hex[:40]


def parse_sums(data: bytes, *, where: SumsUrl) -> SumsList:
    """Return what a list says.

    Args:
        data: Its bytes; at most ``SUMS_LIMIT``.
        where: Where it is.

    Raises:
        SourceError: It is too long, names no file, or is no such list; ``issues`` has each line
            that is not of it, with its number.
    """
    if len(data) > SUMS_LIMIT or data.count(b"\n") >= _MOST_LINES:
        raise SourceError(f"{where}: longer than {SUMS_LIMIT} bytes or {_MOST_LINES} lines")
    files: dict[str, Digest] = {}
    issues: list[str] = []
    for number, line in _lines(data):
        entry = _parse_line(line)
        if entry is None:
            issues.append(f"line {number} is not a checksum of sha256sum")
        elif entry[0] != where.name and files.setdefault(*entry) != entry[1]:
            issues.append(f"line {number}: {entry[0]!r:.200} has another checksum already")
        if len(issues) == _MOST_ISSUES:
            break
    if issues:
        page = data.lstrip().startswith(b"<")
        raise SourceError(
            f"{where}: {'a web page' if page else 'not a list of SHA-256 checksums'}: {issues[0]}",
            hint="check the address, and whether the server asks for a login"
            if page
            else "make it where the files are: sha256sum FILE… > SHA256SUMS",
            issues=issues,
        )
    if not files:
        raise SourceError(f"{where}: names no file", hint=_URL_HINT)
    if len(files) > MOST_FILES:
        raise SourceError(f"{where}: names more than {MOST_FILES} files")
    return SumsList(digest=Digest.of(data), files=dict(sorted(files.items())))


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that say something, with their numbers; the first is 1."""
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        bare = line.removesuffix(b"\r")
        if bare.strip() and not bare.startswith(b"#"):
            yield number, bare


def _parse_line(line: bytes) -> tuple[str, Digest] | None:
    """Return a file and its digest; None where the line is something else."""
    if len(line) > _LONGEST_LINE:
        return None
    text = line.decode("utf-8", "surrogateescape")  # no path holds what is not UTF-8
    if match := _TAGGED.fullmatch(text):
        escaped, name, digits = match.groups()
    elif match := _GNU.fullmatch(text):
        escaped, digits, name = match.groups()
    else:
        return None
    if escaped:
        name = _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[0]), name)
    return name.removeprefix("./"), Digest(digits.lower())
