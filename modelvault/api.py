"""The interface for programs: what the command line does, as functions that return values.

Each function reads what a program writes (text, paths) once, makes the same calls of ``app`` as
the command of its name, and returns what they return: nothing is printed, and nothing is asked.
Errors are those of ``modelvault.errors``. Programs import the functions from ``modelvault``; the
types of values stand here beside them, for annotations.
"""

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelvault import errors
from modelvault.app import export as exporting
from modelvault.app import import_ as importing
from modelvault.app import install as installing
from modelvault.app import pull as pulling
from modelvault.app.conversion import convert as converting
from modelvault.app.conversion.convert import Converted
from modelvault.app.conversion.options import ConvertOptions, Target
from modelvault.app.export import Exported, ExportOptions
from modelvault.app.import_ import Imported
from modelvault.app.install import Installed
from modelvault.app.keys import OwnKey
from modelvault.app.pull import Pulled, PullPlan
from modelvault.app.sources import SourceOptions, choose_source
from modelvault.app.vault import Vault
from modelvault.bundle.write.bundle import WrittenBundle
from modelvault.catalog.listing import read_listing
from modelvault.catalog.values import ListingRow
from modelvault.core.artifact import Artifact, License
from modelvault.core.manifest import FileEntry, Manifest
from modelvault.core.names import AnyReference, Reference, parse_reference
from modelvault.core.ports import Progress, Silence
from modelvault.errors import ModelVaultError
from modelvault.sources.fetch.file import OfferedFile
from modelvault.targets.receipt import InstalledFile, Receipt

__all__ = [
    "Artifact",
    "Converted",
    "Exported",
    "FileEntry",
    "Imported",
    "Installed",
    "InstalledFile",
    "License",
    "ListingRow",
    "Manifest",
    "ModelVaultError",
    "OfferedFile",
    "OwnKey",
    "Progress",
    "PullPlan",
    "Pulled",
    "Receipt",
    "Reference",
    "Vault",
    "WrittenBundle",
    "convert",
    "errors",
    "export",
    "import_bundle",
    "install",
    "list_artifacts",
    "plan_pull",
    "pull",
]


def list_artifacts(vault: Vault) -> tuple[ListingRow, ...]:
    """Return what the vault holds, sorted by model, oldest first.

    Raises:
        CatalogDamaged: The catalogue is gone, altered, or another vault's.
        StorageError: The catalogue cannot be reached.
    """
    return tuple(read_listing(vault.store.paths, vault.config.database_url))


def plan_pull(
    vault: Vault,
    source: str | os.PathLike[str],
    *,
    name: str | None = None,
    sums_digest: str | None = None,
    dataset: bool = False,
    revision: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    endpoint: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    connections: int | None = None,
    engine: str | None = None,
    limit_rate: str | None = None,
    ca_bundle: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
) -> PullPlan:
    """Return what a pull would bring, without fetching it.

    What is not given here is what ``config.toml`` and the environment say.

    Args:
        vault: Where it would go.
        source: As on the command line: ``"org/name"``, a folder, or the URL of a SHA256SUMS. A
            path object is a folder in any case.
        name: ``org/name`` for a model from a folder or a URL.
        sums_digest: What the SHA256SUMS itself must hash to.
        dataset: Whether ``source`` names one of the Hub's datasets.
        revision: Branch, tag or commit; None for the default branch.
        include: Patterns of files to take, and no others; none for what matters.
        exclude: Patterns of files to leave out.
        endpoint: Base URL of the Hub or mirror.
        token_file: File that holds the access token.
        connections: How many at once, 1 to 64.
        engine: ``http``, ``xet`` or ``hf-transfer``.
        limit_rate: Bytes a second over all connections, such as ``20MB``.
        ca_bundle: Certificate authorities to believe, a PEM file.
        timeout: Seconds of silence on a connection that are borne.

    Raises:
        BadInput: The reference, a pattern or an option cannot be used, or what is chosen is not
            whole.
        NotFound: No such repository, revision or folder, or nothing is selected.
        FetchError: The source cannot be reached or refuses.
    """
    options = SourceOptions(
        name=name,
        sums_digest=sums_digest,
        dataset=dataset,
        revision=revision,
        endpoint=endpoint,
        token_file=_path(token_file),
        connections=connections,
        engine=engine,
        limit_rate=limit_rate,
        ca_bundle=_path(ca_bundle),
        timeout=timeout,
    )
    text = source if isinstance(source, str) else str(Path(source).absolute())
    return pulling.plan_pull(
        choose_source(text, options, vault.config),
        vault.store.paths,
        include=_several(include),
        exclude=_several(exclude),
    )


def pull(vault: Vault, plan: PullPlan, *, progress: Progress | None = None) -> Pulled:
    """Fetch what a plan selects, check it and record it; go on where an earlier run stopped.

    Args:
        vault: Where it goes.
        plan: What ``plan_pull`` returned for this vault.
        progress: Told about each file.

    Raises:
        FetchError: A file could not be fetched; what came is kept for the next run.
        Corruption: Bytes do not match what the source declares.
        StorageError: The disk or the catalogue's database is full or refuses.
    """
    return pulling.pull(vault, plan, _audible(progress))


def convert(
    vault: Vault,
    reference: str | Reference,
    *,
    to: str | Sequence[str],
    parameters: Mapping[str, str] | None = None,
    imatrix: str | os.PathLike[str] | None = None,
    calibration: str | os.PathLike[str] | None = None,
    check: bool = False,
    check_text: str | os.PathLike[str] | None = None,
    max_kl: float | None = None,
    threads: int = 0,
    device: str | None = None,
    progress: Progress | None = None,
) -> Converted:
    """Make variants of an artefact; the source stays, and what is there is not made again.

    Args:
        vault: Holds the artefact; the results go there.
        reference: What is converted.
        to: ``gguf:Q4_K_M``, ``awq`` and so on; several at once are made in one run a converter.
        parameters: Options of one converter as text, by name: ``pre_tokenizer``, ``samples``,
            ``sequence_length``, ``group_size``, ``seed``.
        imatrix: Importance matrix that guides a quantisation to GGUF.
        calibration: Text for AWQ and W4A16, or JSON lines.
        check: Whether the results are run and compared with their source.
        check_text: Text for the check, in UTF-8; None for a built-in one.
        max_kl: Largest divergence from the source that is accepted, in nats a token.
        threads: Worker threads; 0 for one per core.
        device: ``cpu``, ``cuda`` or ``cuda:N``; None for what the converter takes by itself.
        progress: Told about bytes and steps.

    Raises:
        BadInput: The reference, a target or an option cannot be used.
        ArtifactNotFound: The vault holds no such artefact.
        ConversionError: The converter refuses or fails, or a result is further off than allowed.
        Interrupted: The user stopped it.
        StorageError: The disk is full or refuses.
    """
    options = ConvertOptions(
        threads=threads,
        device=device,
        parameters=dict(parameters or {}),
        imatrix=_path(imatrix),
        calibration=_path(calibration),
        check=check,
        check_text=_path(check_text),
        max_kl=max_kl,
    )
    targets = [Target.parse(item) for item in _several(to)]
    return converting.convert(vault, _reference(reference), targets, options, _audible(progress))


def export(
    vault: Vault,
    folder: str | os.PathLike[str],
    references: str | Reference | Sequence[str | Reference] = (),
    *,
    volume_size: str | None = None,
    compress: str = "auto",
    expires: dt.datetime | None = None,
    replace: bool = False,
    create: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Write a signed bundle onto a medium; the first one makes the vault's signing key.

    Args:
        vault: Holds the artefacts and the key.
        folder: On the medium; the bundle becomes ``modelvault-bundle`` in it.
        references: What to export; without any, everything the vault holds.
        volume_size: ``fat32``, ``dvd``, ``25GB`` or bytes; None for what the medium asks for.
        compress: ``auto`` or ``none``.
        expires: Time after which importers refuse the bundle; UTC, where it names no time zone.
        replace: Write over a bundle that stands there.
        create: Write even where no medium is mounted, and make every folder on the way.
        progress: Told about bytes written.

    Raises:
        BadInput: A reference or an option cannot be used, or another bundle stands there.
        NotFound: A reference names nothing, or the vault is empty.
        Corruption: A blob has changed on disk: nothing is signed.
        TrustError: The signing key cannot be used.
        NoMedium: No medium is mounted there.
        StorageError: The medium is full, read-only or gone.
    """
    options = ExportOptions.parse(
        volume_size=volume_size,
        compress=compress,
        expires=expires,
        replace=replace,
        create=create,
    )
    named = [references] if isinstance(references, str | Reference) else references
    chosen = exporting.choose_artifacts(vault, [_reference(item) for item in named])
    return exporting.export(vault, chosen, Path(folder), options, _audible(progress))


def import_bundle(
    vault: Vault,
    folder: str | os.PathLike[str],
    *,
    allow_older: str | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Verify a bundle and take everything in it into the vault.

    What is whole of a damaged bundle is taken before the error is raised. The bundle has to be
    signed by a key that the vault trusts; whom to trust is for a person to say: ``modelvault
    trust add``.

    Args:
        vault: Where it goes.
        folder: On the medium.
        allow_older: Why a bundle is taken though its signer sent a newer one, for the log; None
            to refuse it.
        progress: Told about bytes read.

    Raises:
        BadOption: The reason is empty, too long or not printable.
        BundleNotFound: There is none in the folder.
        TrustError: The signature is not by a trusted key or does not verify, the bundle has
            expired or is an older one, or it gives a known revision another content.
        Corruption: Carriers or contents are not what was signed; ``issues`` names them, and what
            was not taken for that.
        StorageError: The disk is full, the medium vanished, or the catalogue cannot be written.
    """
    done = importing.import_bundle(vault, Path(folder), _audible(progress), allow_older=allow_older)
    done.raise_damage()
    return done


def install(
    vault: Vault,
    reference: str | Reference,
    *,
    to: str,
    folder: str | os.PathLike[str] | None = None,
    name: str | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Installed:
    """Put an artefact where a runtime finds it, without a second copy where possible.

    What is installed already is checked and mended.

    Args:
        vault: Holds the artefact; remembers the install.
        reference: What to install.
        to: The runtime: ``ollama``, ``vllm`` or ``llamacpp``.
        folder: The runtime's folder; None for its own, where it has one.
        name: What the runtime calls the model; None derives it from the reference.
        replace: Whether another model of that name may be replaced.
        progress: Told about copied and hashed bytes.

    Raises:
        BadInput: The reference, the name or the folder cannot be used.
        ArtifactNotFound: The vault holds no such artefact.
        TargetError: The runtime is not known, cannot use the artefact, or something stands in
            the way.
        Corruption: A blob is not what it should be.
        StorageError: The target's disk is full or refuses.
    """
    plan = installing.plan_install(
        vault, _reference(reference), to, _path(folder), name, replace=replace
    )
    return installing.install(vault, plan, _audible(progress))


def _reference(given: str | Reference) -> AnyReference:
    return parse_reference(given) if isinstance(given, str) else given


def _several(given: str | Sequence[str]) -> Sequence[str]:
    return [given] if isinstance(given, str) else given


def _path(given: str | os.PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)


def _audible(progress: Progress | None) -> Progress:
    return Silence() if progress is None else progress
