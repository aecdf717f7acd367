"""Every error ModelVault raises on purpose, with its exit code.

Adapters translate what libraries raise into these classes; ``cli`` maps ``exit_code`` to the
process's status. A message names the culprit, ``hint`` says what to do next, ``issues`` lists
every finding of one run. A test keeps ``docs/errors.md`` complete.
"""

from collections.abc import Iterable
from typing import ClassVar


class ModelVaultError(Exception):
    """Anything ModelVault reports to its user instead of a traceback."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", issues: Iterable[str] = ()) -> None:
        """Build the error.

        Args:
            message: One sentence that names the culprit.
            hint: What to do next, if there is something to say.
            issues: All findings of the run, one sentence each.
        """
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.issues = tuple(issues)


class BadInput(ModelVaultError):
    """The command line, a file or a folder given by the user is not acceptable."""

    exit_code = 2


class BadUsage(BadInput):
    """The command line is not one that ``--help`` describes."""


class BadReference(BadInput):
    """A model reference is not ``ORG/NAME[@REVISION][:VARIANT]``."""


class BadDigest(BadInput):
    """A digest is not ``sha256:`` followed by 64 hexadecimal digits."""


class BadPath(BadInput):
    """A path inside a model or bundle is unsafe (absolute, ``..``, reserved …)."""


class BadOption(BadInput):
    """An option's value is not acceptable, alone or together with another."""


class BadConfiguration(BadInput):
    """``config.toml`` or an environment variable holds something unusable."""


class IncompleteModel(BadInput):
    """What is to be pulled lacks parts of itself, or holds stand-ins for them."""


class ShapeUnknown(BadInput):
    """What a model's memory is computed from is missing, or cannot be true."""


class UnsupportedVersion(BadInput):
    """A record, bundle, receipt or vault is of a newer format than this release reads."""


class NotFound(ModelVaultError):
    """What was asked for does not exist."""

    exit_code = 3


class RepositoryNotFound(NotFound):
    """The Hub knows no such repository (or hides it from this token)."""


class RevisionNotFound(NotFound):
    """The repository has no such branch, tag or commit."""


class NothingSelected(NotFound):
    """The include and exclude patterns leave nothing to work on."""


class ArtifactNotFound(NotFound):
    """The vault holds no artefact under this reference."""


class BundleNotFound(NotFound):
    """No bundle where one was looked for, or more than one to choose from."""


class KeyNotFound(NotFound):
    """No key under this fingerprint, or no signing key yet."""


class InstallNotFound(NotFound):
    """Nothing is installed under this name."""


class VaultNotFound(NotFound):
    """There is no vault in the given folder."""


class Corruption(ModelVaultError):
    """Bytes are not what their digest, size or format says."""

    exit_code = 4


class DigestMismatch(Corruption):
    """Bytes hash to something other than the digest they are kept under."""


class SizeMismatch(Corruption):
    """A file is shorter or longer than declared."""


class BlobMissing(Corruption):
    """The catalogue or a manifest names a blob that the store lacks."""


class MalformedRecord(Corruption):
    """A manifest, artefact record or bundle index does not parse or breaks its rules."""


class BundleDamaged(Corruption):
    """A bundle's carriers are missing, truncated, swapped, oversized or altered."""


class CatalogDamaged(Corruption):
    """The catalogue database or its event chain is broken."""


class CatalogIncomplete(CatalogDamaged):
    """The store holds artefacts that no catalogue knows: it is gone, or older than the store."""


class ForeignCatalog(CatalogDamaged):
    """The catalogue belongs to another vault."""


class TrustError(ModelVaultError):
    """A signature, key or policy refuses what was offered."""

    exit_code = 5


class UnknownSigner(TrustError):
    """A valid signature by a key that this vault does not trust."""


class BadSignature(TrustError):
    """A signature that does not verify, or an envelope that is not one."""


class BundleExpired(TrustError):
    """The publisher's expiry date has passed."""


class OlderBundle(TrustError):
    """A bundle that is not newer than the one its signer sent before."""


class RevisionConflict(TrustError):
    """A revision that is known here is offered with another content."""


class WrongClock(TrustError):
    """This host's clock, or the time in a bundle, cannot be right."""


class FingerprintMismatch(TrustError):
    """A key's fingerprint is not the one the operator expects."""


class KeyUnusable(TrustError):
    """A key file is of the wrong kind, damaged, or readable by others."""


class ConfirmationRequired(TrustError):
    """A decision of trust needs a person or an explicit option."""


class FetchError(ModelVaultError):
    """Bytes or metadata could not be fetched from a source."""

    exit_code = 6


class AccessDenied(FetchError):
    """The server refuses: no token, a token without access, or a private repository."""


class GatedRepository(AccessDenied):
    """The repository's owner asks for acceptance of terms first."""


class SourceUnreachable(FetchError):
    """A server does not answer, or a proxy or certificate stands in the way."""


class HubUnreachable(SourceUnreachable):
    """The endpoint does not answer, or offline mode is on."""


class SourceError(FetchError):
    """A server answers, or a source offers, something that cannot be used."""


class HubError(SourceError):
    """The endpoint answers with something that cannot be used."""


class DownloadFailed(FetchError):
    """A file could not be fetched within the permitted attempts; what came is kept."""


class UpstreamChanged(FetchError):
    """The source offers something else than what is pinned, by this pull or by a lock file."""


class ConversionError(ModelVaultError):
    """A conversion could not be carried out."""

    exit_code = 7


class ConverterMissing(ConversionError):
    """No converter, or one of its libraries, is installed."""


class ConverterCrashed(ConversionError):
    """The converter's process died or broke the protocol."""


class UnsupportedTarget(ConversionError):
    """The converter does not produce the requested type."""


class UnsupportedArchitecture(ConversionError):
    """The model's architecture has no converter."""


class UnsupportedTokenizer(ConversionError):
    """The tokenizer cannot be expressed in the target format."""


class UnsupportedSource(ConversionError):
    """The source is not what the converter reads (already quantised, no weights …)."""


class SourceIncomplete(ConversionError):
    """Shards, tensors or tokenizer files are missing from the source."""


class MalformedWeights(ConversionError):
    """A weight file is truncated, overlapping, or holds NaN or infinity."""


class FamilyDefect(ConversionError):
    """A model family's description contradicts itself: a fault of the program, not of a file."""


class CheckFailed(ConversionError):
    """The converted model fails its check in llama.cpp, or is further off than allowed."""


class NotEnoughMemory(ConversionError):
    """The conversion needs more memory than this machine or container has left."""


class TargetError(ModelVaultError):
    """A runtime's folder or store refuses an install or uninstall."""

    exit_code = 8


class UnknownTarget(TargetError):
    """No such runtime to install into."""


class UnsuitableArtifact(TargetError):
    """The runtime cannot use an artefact of this format."""


class TargetConflict(TargetError):
    """Another model, this vault's own or somebody else's, or a file stands in the way."""


class TargetChanged(TargetError):
    """What was installed is no longer what the receipt says."""


class StorageError(ModelVaultError):
    """The file system or the database refuses."""

    exit_code = 9


class NoSpace(StorageError):
    """Not enough free space, or a quota is reached."""


class ReadOnly(StorageError):
    """The medium or folder cannot be written."""


class PermissionRefused(StorageError):
    """The operating system denies access."""


class MediumVanished(StorageError):
    """The medium was removed or fails."""


class HostExhausted(StorageError):
    """The host is out of memory, threads, processes or open files."""


class NoMedium(StorageError):
    """No medium is mounted where a bundle is to be written, or no such folder is there."""


class VaultBusy(StorageError):
    """Another process holds what this one needs."""


class NewerCatalog(StorageError):
    """The catalogue was written by a newer release."""


class CatalogUnavailable(StorageError):
    """The catalogue database cannot be opened or reached."""


class CatalogElsewhere(CatalogUnavailable):
    """The vault's catalogue was made in another database than the one that is named."""


class Interrupted(ModelVaultError):
    """The user stopped the command; what was done is kept."""

    exit_code = 130
