"""Whether the vault holds what a conversion would make."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from modelvault.app.conversion.measured import read_measured
from modelvault.app.conversion.options import Target, shaping
from modelvault.app.conversion.requests import Run
from modelvault.app.conversion.results import OPTIONS, encode_options
from modelvault.app.vault import Vault
from modelvault.core.artifact import Artifact, ConversionOrigin
from modelvault.core.names import Reference
from modelvault.errors import ArtifactNotFound, CheckFailed


def part_stored(
    vault: Vault, parent: Artifact, runs: Sequence[Run]
) -> tuple[dict[str, Artifact], tuple[Run, ...]]:
    """Return what the vault holds of what runs would make, by type, and the runs that remain.

    A variant is the same when it was made from the same parent and the same options shaped it,
    and when it was measured as is asked for now.

    Raises:
        BadOption: A file that an option names is not there.
        CheckFailed: A variant is here, but further off than ``max_kl`` allows.
    """
    stored: dict[str, Artifact] = {}
    rest: list[Run] = []
    for run in runs:
        described = run.options.describe()
        for type_ in run.types:
            target = Target(converter=run.converter, type=type_)
            if (found := _find(vault, parent, target, described)) is not None:
                stored[type_] = found
        if types := tuple(type_ for type_ in run.types if type_ not in stored):
            rest.append(replace(run, types=types))
    return stored, tuple(rest)


def _find(
    vault: Vault, parent: Artifact, target: Target, described: Mapping[str, str]
) -> Artifact | None:
    reference = Reference(model=parent.model, revision=parent.revision, variant=target.type)
    try:
        found = vault.catalog.find(reference).artifact
    except ArtifactNotFound:
        return None
    origin = found.origin
    if not isinstance(origin, ConversionOrigin) or origin.parent != parent.digest:
        return None
    if origin.converter != target.converter:
        return None
    if not _same_options(origin.parameters, shaping(described, target)):
        return None
    if not _checked(origin.parameters, described):
        return None
    _require_near(found, origin.parameters, described)
    return found


def _same_options(parameters: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    recorded = parameters.get(OPTIONS)
    if recorded is not None:
        return recorded == encode_options(wanted)
    # Records of earlier releases say what came of the options, not what they were: such a
    # variant is the same where nothing is asked for but the importance matrix it names.
    rest = {name for name in wanted if name != "imatrix"}
    return not rest and parameters.get("imatrix", "") == wanted.get("imatrix", "")


def _checked(parameters: Mapping[str, str], described: Mapping[str, str]) -> bool:
    text = described.get("check_text")
    if text is not None and parameters.get("check_text") != text:
        return False
    asked = text is not None or "check" in described or "max_kl" in described
    return not asked or "check" in parameters or read_measured(parameters).divergence is not None


def _require_near(
    found: Artifact, parameters: Mapping[str, str], described: Mapping[str, str]
) -> None:
    most = described.get("max_kl")
    divergence = read_measured(parameters).divergence
    if most is not None and divergence is not None and divergence > float(most):
        raise CheckFailed(
            f"{found.label} is here and diverges {divergence:.3g} nats a token from its source, "
            f"more than --max-kl {float(most):g}",
            hint=f"allow more, or convert with other options; modelvault show {found.label} "
            "tells what was measured",
        )
