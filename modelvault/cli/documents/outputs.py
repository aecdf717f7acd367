"""Which documents each command prints, and which events any command may write."""

from modelvault.cli.documents.artifacts import ArtifactName
from modelvault.cli.documents.bundle import (
    BundleContents,
    FinishedExport,
    FinishedImport,
    PlannedExport,
    SignedBundle,
)
from modelvault.cli.documents.convert import FinishedConversion, PlannedConversion
from modelvault.cli.documents.fit import FitDocument
from modelvault.cli.documents.gguf import MergedFile, WrittenShards
from modelvault.cli.documents.inspect import InspectedModel
from modelvault.cli.documents.install import (
    FinishedInstall,
    FinishedUninstall,
    PlannedInstall,
    StandingInstall,
)
from modelvault.cli.documents.keys import ExportedKey, NamedKey, SigningKey, TrustedKey
from modelvault.cli.documents.list import ListedArtifact
from modelvault.cli.documents.log import LogEvent
from modelvault.cli.documents.progress import (
    BeginEvent,
    EndEvent,
    MovedEvent,
    OverallEvent,
    RetryEvent,
    StepEvent,
)
from modelvault.cli.documents.pull import FinishedPull, FinishedUpdate, PlannedPull
from modelvault.cli.documents.pull_list import FinishedList, PlannedList
from modelvault.cli.documents.report import ErrorEvent, WarningEvent
from modelvault.cli.documents.serve_config import ServingConfiguration
from modelvault.cli.documents.show import ShownArtifact
from modelvault.cli.documents.usage import UsedSpace
from modelvault.cli.documents.vault import (
    CheckedLog,
    CollectedGarbage,
    LoggedEvent,
    PrintedHead,
    RebuiltCatalog,
    RemovedArtifacts,
    VerifiedVault,
)

OUTPUTS: dict[str, object] = {
    "pull": PlannedPull | FinishedPull | FinishedUpdate | FinishedList | PlannedList,
    "list": tuple[ListedArtifact, ...],
    "verify": VerifiedVault,
    "du": UsedSpace,
    "remove": RemovedArtifacts,
    "gc": CollectedGarbage,
    "history": tuple[LoggedEvent, ...] | PrintedHead | CheckedLog,
    "rebuild": RebuiltCatalog,
    "show": ShownArtifact,
    "inspect": InspectedModel,
    "fit": FitDocument,
    "convert": PlannedConversion | FinishedConversion,
    "gguf split": WrittenShards | ArtifactName,
    "gguf merge": MergedFile | ArtifactName,
    "export": PlannedExport | FinishedExport,
    "import": FinishedImport,
    "bundle verify": BundleContents,
    "bundle show": BundleContents,
    "bundle sign": SignedBundle,
    "install": PlannedInstall | FinishedInstall,
    "uninstall": FinishedUninstall,
    "status": tuple[StandingInstall, ...],
    "serve-config": ServingConfiguration,
    "key generate": SigningKey,
    "key list": SigningKey,
    "key export": ExportedKey,
    "trust add": NamedKey,
    "trust list": tuple[TrustedKey, ...],
    "trust remove": NamedKey,
}
"""What a command prints on standard output, by its name."""

EVENTS: object = (
    BeginEvent
    | MovedEvent
    | RetryEvent
    | StepEvent
    | EndEvent
    | OverallEvent
    | LogEvent
    | WarningEvent
    | ErrorEvent
)
"""A line on standard error."""
