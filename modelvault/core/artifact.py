"""Artefacts: a manifest, plus what it is and where it came from.

The record of an artefact is canonical JSON, kept as a blob, and its digest is the
artefact's identity. It holds no time, host or local path: pulling the same revision
twice, or converting it twice with the same tools, gives the same artefact.

Format (``modelvault/artifact/v1``): see ``docs/formats/records.md``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from modelvault.core import canonical
from modelvault.core.digest import Digest
from modelvault.core.fields import Fields
from modelvault.core.names import ModelName, Reference, is_revision, is_variant
from modelvault.errors import BadDigest, BadReference, MalformedRecord

ARTIFACT_KIND = "modelvault/artifact"
ARTIFACT_TYPE = f"{ARTIFACT_KIND}/v1"
ARTIFACT_LIMIT = 1024 * 1024
"""Largest artefact record that is read, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class License:
    """What the model card declares about the licence; fields as the Hub spells them."""

    id: str
    """``license``: an SPDX-like tag such as ``apache-2.0``, or ``other``."""
    name: str = ""
    """``license_name``, given where the tag is ``other``."""
    link: str = ""
    """``license_link``: where the text stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubOrigin:
    """The artefact was pulled from a Hub."""

    endpoint: str
    """Base URL of the Hub or mirror."""
    commit: str
    """Full commit id that was pinned."""
    requested: str
    """The revision the user asked for: a branch, tag or commit."""
    gated: bool
    private: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOrigin:
    """The artefact was taken from a folder on disk."""

    label: str
    """Last part of the folder's name; full paths stay out of records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SumsOrigin:
    """The artefact was pulled from a web server, by a list of checksums."""

    url: str
    """Where the list is; the files stand beside it and below."""
    sums: Digest
    """Of the list's bytes: what a publisher may have signed, and what ``--sums-digest`` pins."""
    requested: str
    """The list's name, which may stand for other files later; or, where its digest was given,
    the first 40 digits of that, which stand for these alone."""

    @property
    def endpoint(self) -> str:
        """Where the list is."""
        return self.url

    @property
    def is_pinned(self) -> bool:
        """Whether the user asked for this very list."""
        return self.requested == self.sums.hex[:40]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionOrigin:
    """The artefact was converted from another."""

    parent: Digest
    """Identity of the artefact that was converted."""
    parent_manifest: Digest
    converter: str
    """Entry-point name of the converter, such as ``gguf``."""
    tools: Mapping[str, str] = field(hash=False)
    """Library name → version."""
    parameters: Mapping[str, str] = field(hash=False)
    """Everything that shaped the result, as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownOrigin:
    """The artefact came from somewhere that this release has no word for.

    A newer release wrote the record. What it says is kept as it is, so that the record's
    bytes, and with them the artefact's identity, are the same wherever it is carried.
    """

    kind: str
    """1 to 64 letters, digits, ``.``, ``_`` and ``-``; none of the kinds known here."""
    fields: Mapping[str, canonical.Json] = field(hash=False)
    """Everything else that stands in the origin, uninterpreted."""


Origin = HubOrigin | FolderOrigin | SumsOrigin | ConversionOrigin | UnknownOrigin


@runtime_checkable
class Followable(Protocol):
    """An origin that can be asked again: its name may stand for another revision by then."""

    @property
    def endpoint(self) -> str:
        """Base URL of the server."""

    @property
    def requested(self) -> str:
        """What the user asked for: a branch, a tag, or what pins one revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One identified thing in a vault."""

    model: ModelName
    revision: str
    """Commit of the source; for folders the first 40 hex digits of the manifest's digest, for a
    list of checksums those of the sorted list's."""
    variant: str | None
    """None for the source as pulled; else ``Q4_K_M``, ``AWQ`` …"""
    format: str
    """``safetensors``, ``gguf``, ``pytorch``, ``adapter``, ``dataset`` or ``other``."""
    quantization: str | None
    """Weight type as the field spells it, such as ``Q4_K_M``; None when not quantised."""
    manifest: Digest
    license: License | None
    card: Mapping[str, str] = field(hash=False)
    """Chosen fields of the model card: ``pipeline_tag``, ``base_model``, ``language`` …"""
    origin: Origin

    @property
    def reference(self) -> Reference:
        """The full reference, revision included."""
        return Reference(model=self.model, revision=self.revision, variant=self.variant)

    @property
    def label(self) -> str:
        """The reference without its revision, as people know it."""
        return self.reference.label

    @property
    def digest(self) -> Digest:
        """The identity: digest of the canonical record."""
        return Digest.of(self.encode())

    def encode(self) -> bytes:
        """Return the canonical JSON bytes of the record."""
        license_: canonical.Json = None
        if self.license is not None:
            license_ = {
                "id": self.license.id,
                "name": self.license.name,
                "link": self.license.link,
            }
        return canonical.encode(
            {
                "_type": ARTIFACT_TYPE,
                "model": str(self.model),
                "revision": self.revision,
                "variant": self.variant,
                "format": self.format,
                "quantization": self.quantization,
                "manifest": str(self.manifest),
                "license": license_,
                "card": dict(self.card),
                "origin": _encode_origin(self.origin),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "Artifact":
        """Return the artefact whose record is ``data``.

        Raises:
            UnsupportedVersion: A record of a newer version.
            MalformedRecord: Not an artefact record, or a field breaks its rules.
        """
        fields = Fields(canonical.parse(data, limit=ARTIFACT_LIMIT), where="artefact")
        fields.version(ARTIFACT_KIND)
        try:
            artifact = cls(
                model=ModelName.parse(fields.text("model")),
                revision=_checked(fields.text("revision"), is_revision, "revision"),
                variant=_parse_variant(fields),
                format=_checked(fields.text("format"), is_variant, "format"),
                quantization=fields.optional_text("quantization", longest=64),
                manifest=Digest.parse(fields.text("manifest")),
                license=_parse_license(fields),
                card=fields.texts("card"),
                origin=_parse_origin(fields.object("origin")),
            )
        except (BadReference, BadDigest) as error:
            raise MalformedRecord(f"artefact: {error}") from error
        fields.finish()
        return artifact


def _checked(text: str, rule: Callable[[str], bool], name: str) -> str:
    if not rule(text):
        raise MalformedRecord(f"artefact: {text!r} is not a {name}")
    return text


def _parse_variant(fields: Fields) -> str | None:
    variant = fields.optional_text("variant")
    return variant if variant is None else _checked(variant, is_variant, "variant")


def _parse_license(fields: Fields) -> License | None:
    if fields.is_null("license"):
        return None
    item = fields.object("license")
    result = License(id=item.text("id"), name=item.text("name"), link=item.text("link"))
    item.finish()
    return result


def _encode_origin(origin: Origin) -> dict[str, canonical.Json]:
    match origin:
        case HubOrigin():
            return {
                "kind": "hub",
                "endpoint": origin.endpoint,
                "commit": origin.commit,
                "requested": origin.requested,
                "gated": origin.gated,
                "private": origin.private,
            }
        case FolderOrigin():
            return {"kind": "folder", "label": origin.label}
        case SumsOrigin():
            return {
                "kind": "sums",
                "url": origin.url,
                "sums": str(origin.sums),
                "requested": origin.requested,
            }
        case ConversionOrigin():
            return {
                "kind": "conversion",
                "parent": str(origin.parent),
                "parent_manifest": str(origin.parent_manifest),
                "converter": origin.converter,
                "tools": dict(origin.tools),
                "parameters": dict(origin.parameters),
            }
        case UnknownOrigin():
            return {"kind": origin.kind, **origin.fields}


def _parse_origin(fields: Fields) -> Origin:
    kind = fields.text("kind")
    origin: Origin
    if kind == "hub":
        origin = HubOrigin(
            endpoint=fields.text("endpoint"),
            commit=fields.text("commit"),
            requested=fields.text("requested"),
            gated=fields.boolean("gated"),
            private=fields.boolean("private"),
        )
    elif kind == "folder":
        origin = FolderOrigin(label=fields.text("label"))
    elif kind == "sums":
        origin = SumsOrigin(
            url=fields.text("url"),
            sums=Digest.parse(fields.text("sums")),
            requested=fields.text("requested"),
        )
    elif kind == "conversion":
        origin = ConversionOrigin(
            parent=Digest.parse(fields.text("parent")),
            parent_manifest=Digest.parse(fields.text("parent_manifest")),
            converter=fields.text("converter"),
            tools=fields.texts("tools"),
            parameters=fields.texts("parameters"),
        )
    else:
        kind = _checked(kind, is_variant, "kind of origin")
        origin = UnknownOrigin(kind=kind, fields=fields.rest())
    fields.finish()
    return origin
