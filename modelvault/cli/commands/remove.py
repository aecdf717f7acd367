"""``modelvault remove``."""

import typer

from modelvault.app import housekeeping as verb
from modelvault.app.vault import Vault
from modelvault.cli.completion import ReferenceArgument
from modelvault.cli.documents.artifacts import ArtifactName
from modelvault.cli.session import Session
from modelvault.core.names import Reference


def remove(context: typer.Context, reference: ReferenceArgument) -> None:
    """Forget an artefact; gc then frees its bytes."""
    session = Session.of(context)
    with Vault.open(session.vault) as vault:
        artifact = verb.remove(vault, Reference.parse(reference))
        free = vault.command("gc")
    session.result(
        ArtifactName.of(artifact),
        [f"removed {artifact.reference}", f"its bytes stay until: {free}"],
    )
