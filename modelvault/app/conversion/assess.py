"""Whether a model that is about to be pulled can be converted, and to what: asked before it comes.

Each converter is asked in a child of its own, with the configuration and the names of the files;
none of them imports what it converts with.
"""

import logging
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from modelvault.app.pull import PullPlan
from modelvault.app.timing import timed
from modelvault.conversion import Command, ask_converter, list_converters
from modelvault.core.model_files import WeightFormat, is_adapter, weight_format
from modelvault.core.protocol import Assessed, Request, SourceFile, Warned
from modelvault.core.repository import is_dataset
from modelvault.errors import ConverterCrashed, ConverterMissing, ModelVaultError

_log = logging.getLogger(__name__)

CONFIGURATION = "config.json"
_LARGEST = 1024 * 1024
"""Bytes of a configuration that is handed on."""
_SECONDS = 20.0
"""Time in which a converter has to answer, also on a busy machine."""
_SOURCES = (WeightFormat.SAFETENSORS, WeightFormat.PICKLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Convertible:
    """What one converter says of a model."""

    converter: str
    """As ``--to`` names it: ``gguf``, ``awq`` …"""
    targets: tuple[str, ...]
    """Types that it can make; empty where it refuses."""
    reason: str = ""
    """Why it refuses."""
    hint: str = ""
    """What to do about that."""
    installed: bool = True
    """Whether its libraries are; where not, nothing is known of the model."""
    warnings: tuple[str, ...] = ()


@timed(_log, "questions to converters")
def assess(plan: PullPlan) -> tuple[Convertible, ...]:
    """Return what each converter says of a planned pull; nothing for what is no model to convert.

    Args:
        plan: Of the pull; its configuration is read from its source or the vault.
    """
    files = {file.path: file for file in plan.files}
    config = files.get(CONFIGURATION)
    if config is None or config.known_size > _LARGEST or not _is_source(plan):
        return ()
    content = plan.preview.read([config]).get(CONFIGURATION)
    if content is None:
        return ()
    try:
        with tempfile.TemporaryDirectory(prefix="modelvault-") as folder:
            location = Path(folder) / CONFIGURATION
            location.write_bytes(content)
            return _ask_all(plan, str(location), len(content))
    except OSError as error:  # what a pull can do without does not end it
        _log.info("no converter is asked: %s", error)
        return ()


def _ask_all(plan: PullPlan, location: str, size: int) -> tuple[Convertible, ...]:
    modules = list_converters()
    with ThreadPoolExecutor(max(1, len(modules))) as pool:
        asked = pool.map(lambda item: _ask(plan, location, size, *item), modules.values())
        return tuple(found for answers in asked for found in answers)


def _is_source(plan: PullPlan) -> bool:
    """Return whether there are weights at the top that converters read, of a model of its own."""
    return not is_dataset(plan.offer.model) and any(
        weight_format(file.path) in _SOURCES and "/" not in file.path and not is_adapter(file.path)
        for file in plan.files
    )


def _ask(
    plan: PullPlan, location: str, size: int, command: Command, names: Sequence[str]
) -> list[Convertible]:
    request = Request(
        model=str(plan.offer.model),
        revision=plan.offer.revision,
        license="",
        files=tuple(
            SourceFile(
                path=file.path,
                location=location if file.path == CONFIGURATION else "",
                size=size if file.path == CONFIGURATION else file.known_size,
            )
            for file in plan.files
        ),
        targets=tuple(name.upper() for name in names),
        output="",
        ask_only=True,
    )
    targets: tuple[str, ...] = ()
    warnings: list[str] = []
    try:
        for event in ask_converter(command, request, seconds=_SECONDS):
            match event:
                case Assessed():
                    targets = event.targets
                case Warned():
                    warnings.append(event.message)
    except ConverterMissing as error:
        return [_refused(name, error, installed=False) for name in names]
    except ConverterCrashed as error:
        _log.info("%s: %s", ", ".join(names), error.message)
        return []
    except ModelVaultError as error:
        return [_refused(name, error) for name in names]
    return [
        Convertible(
            converter=name,
            targets=tuple(type_ for type_ in targets if _belongs(type_, name, names)),
            warnings=tuple(warnings),
        )
        for name in names
    ]


def _belongs(type_: str, name: str, names: Sequence[str]) -> bool:
    """Return whether a type is a converter's: of several in one module each has its own."""
    return len(names) == 1 or type_ == name.upper()


def _refused(name: str, error: ModelVaultError, *, installed: bool = True) -> Convertible:
    return Convertible(
        converter=name,
        targets=(),
        reason=error.message,
        hint=error.hint,
        installed=installed,
    )
