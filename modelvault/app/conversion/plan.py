"""``convert --dry-run``: each target's tensors, where they will lie, and whether they fit."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from modelvault import fsio
from modelvault.app.conversion.existing import part_stored
from modelvault.app.conversion.options import ConvertOptions, Target
from modelvault.app.conversion.requests import Run, split_runs, start_run
from modelvault.app.conversion.warnings import quality_warnings
from modelvault.app.conversion.work_folder import working_folder
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.core.artifact import Artifact
from modelvault.core.names import AnyReference
from modelvault.core.protocol import Event, Laid, Planned, PlannedTensor, Warned
from modelvault.errors import ConverterCrashed

_log = logging.getLogger(__name__)

MOST_TENSORS = 500_000
"""Tensors of one plan at most, some 1.3 kB each; the largest models known take half of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPlan:
    """What one target will be."""

    planned: Planned
    tensors: tuple[PlannedTensor, ...]
    """In the order of the files; empty where the converter does not tell."""
    stored: bool
    """Whether the vault holds it already, so that it would not be made."""

    @property
    def bits_per_weight(self) -> float:
        """Bits a weight takes on average, everything in the files counted."""
        return 8 * self.planned.size / max(self.planned.parameters, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionPlan:
    """What a conversion will make."""

    targets: tuple[TargetPlan, ...]
    warnings: tuple[str, ...]
    free: int
    """Bytes free on the vault's file system."""

    @property
    def size(self) -> int:
        """Bytes of all results that are not stored yet."""
        return sum(target.planned.size for target in self.targets if not target.stored)

    @property
    def fits(self) -> bool:
        """Whether all results fit on the disk."""
        return self.size <= self.free


@timed(_log, "plan of a conversion")
def plan_conversion(
    vault: Vault, reference: AnyReference, targets: Sequence[Target], options: ConvertOptions
) -> ConversionPlan:
    """Return the layout of each target, without writing a byte of it.

    Raises:
        ArtifactNotFound: The vault holds no such artefact.
        BadOption: An option is refused.
        ConversionError: The converter refuses the source or a target.
    """
    parent = vault.catalog.find(reference).artifact
    runs = split_runs(targets, options)
    stored, _ = part_stored(vault, parent, runs)
    with vault.store.writing():
        return plan_runs(vault, parent, runs, stored=stored)


def plan_runs(
    vault: Vault,
    parent: Artifact,
    runs: Sequence[Run],
    *,
    stored: Collection[str] = (),
) -> ConversionPlan:
    """Return the plan of several runs; the caller keeps ``gc`` away.

    Args:
        vault: Holds the parent's files.
        parent: What is converted.
        runs: To what, and how.
        stored: Types that the vault holds already.

    Raises:
        BadOption: An option is refused.
        ConversionError: A converter refuses the source or a target, or breaks the protocol.
    """
    draft = _Draft()
    draft.warnings += quality_warnings(parent, [type_ for run in runs for type_ in run.types])
    for run in runs:
        with working_folder(vault, parent, f"plan {run.converter}") as folder:
            for event in start_run(vault, parent, run, folder, plan_only=True):
                draft.hear(event)
    return ConversionPlan(
        targets=tuple(
            TargetPlan(planned=planned, tensors=tuple(draft.tensors[name]), stored=name in stored)
            for name, planned in draft.planned.items()
        ),
        warnings=tuple(draft.warnings),
        free=fsio.free_bytes(vault.store.paths.blobs),
    )


class _Draft:
    """A plan under way."""

    def __init__(self) -> None:
        self.planned: dict[str, Planned] = {}
        self.tensors: dict[str, list[PlannedTensor]] = {}
        self.warnings: list[str] = []
        self._count = 0

    def hear(self, event: Event) -> None:
        """Take an event in.

        Raises:
            ConverterCrashed: It does not belong into a plan, or there are too many.
        """
        match event:
            case Planned():
                self.planned[event.target] = event
                self.tensors[event.target] = []
            case Laid():
                self._lay(event)
            case Warned():
                self.warnings.append(event.message)

    def _lay(self, event: Laid) -> None:
        if event.target not in self.tensors:
            raise ConverterCrashed(f"the converter laid out what it did not plan: {event.target}")
        self._count += len(event.tensors)
        if self._count > MOST_TENSORS:
            raise ConverterCrashed(f"the plan has more than {MOST_TENSORS} tensors")
        self.tensors[event.target] += event.tensors
