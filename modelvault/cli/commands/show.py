"""``modelvault show``."""

import typer

from modelvault.app import housekeeping as verb
from modelvault.app.conversion.measured import is_summed_up, measured_of, read_measured
from modelvault.app.housekeeping import Shown
from modelvault.app.vault import Vault
from modelvault.cli.completion import ReferenceArgument
from modelvault.cli.documents.show import ShownArtifact
from modelvault.cli.lines import text
from modelvault.cli.lines.pull import group_text
from modelvault.cli.lines.quality import figures_line, layer_lines
from modelvault.cli.lines.table import Column, Line, Table
from modelvault.cli.session import Session
from modelvault.core.artifact import (
    Artifact,
    ConversionOrigin,
    FolderOrigin,
    HubOrigin,
    SumsOrigin,
    UnknownOrigin,
)
from modelvault.core.names import parse_reference
from modelvault.core.repository import repository_of


def show(context: typer.Context, reference: ReferenceArgument) -> None:
    """Show one artefact: files, licence, lineage."""
    session = Session.of(context)
    with Vault.open(session.vault) as vault:
        shown = verb.show(vault, parse_reference(reference))
    session.result(ShownArtifact.of(shown), _show_lines(shown))


def _show_lines(shown: Shown) -> list[Line]:
    artifact = shown.cataloged.artifact
    license_ = artifact.license
    facts = [
        ("reference", str(artifact.reference)),
        ("artefact", str(artifact.digest)),
        ("manifest", str(artifact.manifest)),
        ("format", " ".join(filter(None, (artifact.format, artifact.quantization)))),
        ("size", text.size(shown.manifest.size)),
        ("licence", " ".join((license_.name or license_.id, license_.link)) if license_ else "-"),
        ("added", shown.cataloged.created_at.isoformat(timespec="seconds")),
        *artifact.card.items(),
        *_origin_facts(artifact),
        *(("made from", str(parent.reference)) for parent in shown.parents),
        *(("converted to", str(child.reference)) for child in shown.children),
        *(("left out", group_text(group)) for group in shown.left_out),
    ]
    files = Table(
        columns=(Column("SIZE", right=True), Column("DIGEST", spare=1), Column("FILE", least=16)),
        rows=[
            (text.size(entry.size), entry.digest.short, entry.path)
            for entry in shown.manifest.files
        ],
    )
    width = max(len(name) for name, _ in facts)
    measured = measured_of(artifact)
    layers = layer_lines(measured) if measured else []
    return [
        *(f"{name.ljust(width)}  {value}".rstrip() for name, value in facts),
        *(["", "relative error of each layer's outputs:", *layers] if layers else []),
        "",
        files,
    ]


def _origin_facts(artifact: Artifact) -> list[tuple[str, str]]:
    match artifact.origin:
        case HubOrigin() as hub:
            flags = [word for word, on in (("gated", hub.gated), ("private", hub.private)) if on]
            return [
                ("pulled from", f"{hub.endpoint}/{repository_of(artifact.model).path}"),
                ("commit", f"{hub.commit} (asked for: {hub.requested})"),
                *([("access", ", ".join(flags))] if flags else []),
            ]
        case FolderOrigin() as folder:
            return [("taken from", f"folder {folder.label}")]
        case SumsOrigin() as listed:
            return [
                ("pulled from", text.visible(listed.url, longest=2048)),
                ("checksums", f"{listed.sums} (of the list that it was pulled by)"),
            ]
        case UnknownOrigin() as other:
            return [("origin", f"{other.kind}: unknown to this release, kept as it is")]
        case ConversionOrigin() as made:
            return [
                ("converter", made.converter),
                ("parent", str(made.parent)),
                ("tools", ", ".join(f"{name} {version}" for name, version in made.tools.items())),
                *(
                    ("parameter", f"{text.visible(key)} = {text.visible(item, longest=200)}")
                    for key, item in sorted(made.parameters.items())
                    if not is_summed_up(key)
                ),
                *(
                    [("quality", line)]
                    if (line := figures_line(read_measured(made.parameters)))
                    else []
                ),
            ]
