"""``convert``: make variants of an artefact with a converter in a child process."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from modelvault.app.conversion.existing import part_stored
from modelvault.app.conversion.options import ConvertOptions, Target, shaping
from modelvault.app.conversion.plan import plan_runs
from modelvault.app.conversion.requests import Run, split_runs, start_run, work_key
from modelvault.app.conversion.results import record_result, replace_earlier
from modelvault.app.conversion.warnings import quality_warnings
from modelvault.app.conversion.work_folder import WorkFolder, is_resumable, resumable_folder
from modelvault.app.supersede import drop_records
from modelvault.app.timing import timed
from modelvault.app.vault import Vault
from modelvault.core.artifact import Artifact
from modelvault.core.names import AnyReference
from modelvault.core.ports import Progress
from modelvault.core.protocol import Advanced, Event, Planned, Produced, Stepped, Warned
from modelvault.errors import CheckFailed, ConverterCrashed, NoSpace

_log = logging.getLogger(__name__)


class Voice(Protocol):
    """Tells the user, while the work goes on, what is no progress."""

    def note(self, message: str) -> None:
        """Say what is going on."""

    def warn(self, message: str) -> None:
        """Say something that the user should know."""


class Mute:
    """A ``Voice`` that says nothing."""

    def note(self, message: str) -> None:
        """Ignore it."""

    def warn(self, message: str) -> None:
        """Ignore it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a conversion made."""

    artifacts: tuple[Artifact, ...]
    """The new variants, in the order in which they were finished."""
    skipped: tuple[Artifact, ...]
    """Variants that the vault already holds."""
    replaced: tuple[Artifact, ...]
    """Earlier variants that gave way."""
    warnings: tuple[str, ...]


@timed(_log, "conversion")
def convert(
    vault: Vault,
    reference: AnyReference,
    targets: Sequence[Target],
    options: ConvertOptions,
    progress: Progress,
    *,
    voice: Voice | None = None,
) -> Converted:
    """Convert an artefact and record each result with its lineage.

    A target that the vault holds, made from the same parent with the same options, is not
    made again; made anew, it takes the place of the one before. Several converters are all
    asked for a plan before the first begins. Results are recorded one by one: what is finished
    when a later target fails stays, and a result that fails its check hinders no other.

    Args:
        vault: Holds the artefact; the results go there.
        reference: What is converted.
        targets: To what.
        options: How.
        progress: Told about bytes and steps.
        voice: Told about warnings at once, and about what is kept.

    Raises:
        ArtifactNotFound: The vault holds no such artefact.
        BadOption: An option is refused.
        CheckFailed: A result is further off than allowed.
        ConversionError: The converter refuses or fails.
        Interrupted: The user stopped it.
        StorageError: The disk is full or refuses.
    """
    parent = vault.catalog.find(reference).artifact
    stored, runs = part_stored(vault, parent, split_runs(targets, options))
    _log.info(
        "%s to %s; in the vault already: %s",
        parent.reference,
        ", ".join(name for run in runs for name in run.types) or "nothing",
        ", ".join(stored) or "none",
    )
    work = _Work(vault=vault, parent=parent, progress=progress, voice=voice or Mute())
    try:
        with vault.store.writing():
            work.carry_out(runs)
    finally:
        drop_records(vault, tuple(work.replaced))
    return Converted(
        artifacts=tuple(work.made),
        skipped=tuple(stored.values()),
        replaced=tuple(work.replaced),
        warnings=tuple(work.warnings),
    )


@dataclass(slots=True, kw_only=True)
class _Work:
    """The conversions of one command, as they go on."""

    vault: Vault
    parent: Artifact
    progress: Progress
    voice: Voice
    made: list[Artifact] = field(default_factory=list)
    replaced: list[Artifact] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def carry_out(self, runs: Sequence[Run]) -> None:
        """Run each converter; what fails its check is told when all others are done."""
        if len(runs) > 1:
            self._require_all(runs)
        for message in quality_warnings(self.parent, [name for run in runs for name in run.types]):
            self._warn(message)
        refused: list[CheckFailed] = []
        for run in runs:
            try:
                self._run(run)
            except CheckFailed as error:
                refused.append(error)
            except BaseException:
                self._tell_kept()
                raise
        if refused:
            self._tell_kept()
            raise _joined(refused)

    def _require_all(self, runs: Sequence[Run]) -> None:
        """Refuse now what would be refused after hours of work for the first target."""
        begun = {
            type_
            for run in runs
            if is_resumable(self.vault, self.parent, work_key(self.parent, run))
            for type_ in run.types
        }  # their bytes are partly there
        plan = plan_runs(self.vault, self.parent, runs, stored=begun)
        if not plan.fits:
            raise NoSpace(
                f"the results take {plan.size} bytes and {plan.free} are free",
                hint=f"free at least {plan.size - plan.free} bytes, or convert to fewer types",
            )

    def _run(self, run: Run) -> None:
        described = run.options.describe()
        with resumable_folder(self.vault, self.parent, work_key(self.parent, run)) as folder:
            _log.info("%s in %s, resumed: %s", run.converter, folder.path.name, folder.resumed)
            if folder.resumed:
                self.voice.note(f"continuing an interrupted conversion to {', '.join(run.types)}")
            events = start_run(self.vault, self.parent, run, folder.path)
            told = _Told(self.progress, resumed=folder.resumed)
            try:
                for event in events:
                    told.hear(event)
                    self._take(event, run, folder, described)
            except ConverterCrashed:
                if folder.resumed:
                    again = self.vault.command("gc", "--partials")
                    self.voice.note(f"if going on fails again, begin anew after: {again}")
                raise

    def _take(
        self, event: Event, run: Run, folder: WorkFolder, described: Mapping[str, str]
    ) -> None:
        match event:
            case Warned():
                self._warn(event.message)
            case Produced():
                target = Target(converter=run.converter, type=event.target)
                artifact = record_result(
                    self.vault,
                    self.parent,
                    run.converter,
                    event,
                    folder.path,
                    shaping=shaping(described, target),
                )
                self.made.append(artifact)
                earlier = replace_earlier(self.vault, artifact)
                self.replaced += earlier.removed
                for note in earlier.notes:
                    self.voice.note(note)

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)
            self.voice.warn(message)

    def _tell_kept(self) -> None:
        if self.made:
            self.voice.note(f"finished and kept: {', '.join(item.label for item in self.made)}")


class _Told:
    """Turns a converter's events into progress."""

    def __init__(self, progress: Progress, *, resumed: bool) -> None:
        """Begin before the converter's first event.

        Args:
            progress: Told about bytes and steps.
            resumed: Whether the converter goes on from what an interrupted run left.
        """
        self._progress = progress
        self._resumed = resumed
        self._done: dict[str, int] = {}
        self._sizes: dict[str, int] = {}

    def hear(self, event: Event) -> None:
        """Report an event.

        A resumed target begins with its first sign of work: only then is it known how much of
        it the interrupted run had done.
        """
        match event:
            case Planned():
                self._sizes[event.target] = event.size
                if not self._resumed:
                    self._begin(event.target, 0)
            case Advanced():
                self._begin(event.target, event.done)
                self._progress.advance(event.target, event.done - self._done[event.target])
                self._done[event.target] = event.done
            case Stepped():
                self._begin(event.target, 0)
                self._progress.advance(event.target, 0, event=event)
            case Produced():
                self._begin(event.target, 0)
                rest = self._sizes.get(event.target, 0) - self._done[event.target]
                self._progress.advance(event.target, rest)  # the last bytes may go untold
                self._progress.end(event.target, note="converted")

    def _begin(self, target: str, done: int) -> None:
        if target not in self._done:
            self._progress.begin(target, total=self._sizes.get(target), done=done)
            self._done[target] = done


def _joined(refused: Sequence[CheckFailed]) -> CheckFailed:
    """Return one error that tells of all."""
    if len(refused) == 1:
        return refused[0]
    return CheckFailed(
        "; ".join(error.message for error in refused),
        hint=refused[0].hint,
        issues=[issue for error in refused for issue in error.issues or (error.message,)],
    )
