"""What a conversion is asked to make, and how: targets, options, and which of them shape it."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelvault import fsio
from modelvault.core.names import is_variant
from modelvault.errors import BadOption

SINGLE = ("awq", "fp8", "int8", "w4a16")
"""Converters with a single type, which bears their name."""

_FLOATS = ("F32", "F16", "BF16")
"""Types that no importance matrix changes."""

_GGUF = frozenset({"pre_tokenizer", "task", "imatrix"})
_CALIBRATED = frozenset({"calibration", "samples", "sequence_length", "group_size", "seed"})
_DEVICE = "device"
_DEVICES = re.compile(r"cpu|cuda(:[0-9]{1,3})?")
_USES = {
    "gguf": _GGUF,
    "awq": _CALIBRATED | {_DEVICE},
    "w4a16": _CALIBRATED | {_DEVICE},
    "fp8": frozenset({_DEVICE}),
    "int8": frozenset({_DEVICE}),
}
"""Options that some converters have a use for and others have not."""

_CHECKS = ("check", "check_text", "max_kl")
"""Options that look at a result and leave its bytes as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What ``--to`` names: a converter and one of its types."""

    converter: str
    type: str
    """As the field spells it; also the variant's name."""

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Return the target written ``gguf:Q4_K_M``, or ``awq`` where there is one type.

        Raises:
            BadOption: The text is not ``CONVERTER:TYPE``.
        """
        text = f"{text}:{text}" if text.lower() in SINGLE else text
        converter, _, type_ = text.partition(":")
        if not is_variant(converter) or not is_variant(type_):
            raise BadOption(
                f"--to {text}: not a target",
                hint=f"write --to gguf:Q4_K_M, or one of {', '.join(SINGLE)}",
            )
        if converter.lower() in SINGLE and type_.lower() in SINGLE:
            converter = type_  # awq:FP8 is another way to write fp8
        return cls(converter=converter.lower(), type=type_.upper())


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """How to convert."""

    threads: int = 0
    """Worker threads; 0 for one per core."""
    device: str | None = None
    """``cpu``, ``cuda`` or ``cuda:N``; None for what the converter takes by itself."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Converter options, such as ``pre_tokenizer``."""
    imatrix: Path | None = None
    """Importance matrix as llama.cpp writes it."""
    calibration: Path | None = None
    """Text that is run through the model, to see what matters."""

    check: bool = False
    """Whether the results are run and compared with their source."""
    check_text: Path | None = None
    """Text for the check; without one a built-in text is read."""
    max_kl: float | None = None
    """Largest divergence from the source that is accepted, in nats a token."""

    def __post_init__(self) -> None:
        """Refuse what is no device.

        Raises:
            BadOption: It is none.
        """
        if self.device is not None and not _DEVICES.fullmatch(self.device):
            raise BadOption(f"--device {self.device}: not one of cpu, cuda, cuda:N")

    def narrowed(self, converter: str, others: Iterable[str]) -> "ConvertOptions":
        """Return the options without those that are meant for other converters.

        What no converter of the command has a use for stays, so that it is refused by name.

        Args:
            converter: Whose options are wanted.
            others: The other converters of the same command.
        """
        own = _USES.get(converter)
        if own is None:
            return self
        foreign = frozenset().union(*(_USES.get(name, ()) for name in others)) - own
        return replace(
            self,
            device=None if _DEVICE in foreign else self.device,
            imatrix=None if "imatrix" in foreign else self.imatrix,
            calibration=None if "calibration" in foreign else self.calibration,
            parameters={
                name: value for name, value in self.parameters.items() if name not in foreign
            },
        )

    def encode(self) -> dict[str, str]:
        """Return the options as a converter reads them: files by absolute path.

        Raises:
            BadOption: A file that is named is not there.
        """
        files = {name: str(path.absolute()) for name, path in self._files().items()}
        device = {_DEVICE: self.device} if self.device else {}
        return {**self._texts(), **device, **files}

    def describe(self) -> dict[str, str]:
        """Return the options with files by digest: the same for the same work.

        The device is left out: results differ by rounding at most.

        Raises:
            BadOption: A file that is named is not there.
            StorageError: A file cannot be read.
        """
        return {
            **self._texts(),
            **{name: _digest(path) for name, path in self._files().items()},
        }

    def _texts(self) -> dict[str, str]:
        return {
            **self.parameters,
            **({"check": "yes"} if self.check else {}),
            **({"max_kl": repr(self.max_kl)} if self.max_kl is not None else {}),
        }

    def _files(self) -> dict[str, Path]:
        named = {
            "imatrix": self.imatrix,
            "calibration": self.calibration,
            "check_text": self.check_text,
        }
        found = {name: path for name, path in named.items() if path is not None}
        for name, path in found.items():
            if not path.is_file():
                option = f"--{name.replace('_', '-')} {path}"
                if path.exists():  # a pipe could be read only once, by the vault or the converter
                    raise BadOption(
                        f"{option}: not a regular file", hint="write what it gives to a file first"
                    )
                raise BadOption(f"{option}: there is no such file")
        return found


def shaping(described: Mapping[str, str], target: Target) -> dict[str, str]:
    """Return the options that the bytes of a target depend on.

    Args:
        described: From ``ConvertOptions.describe``.
        target: What is made.
    """
    idle: tuple[str, ...] = _CHECKS
    if target.converter == "gguf" and target.type in _FLOATS:
        idle = (*_CHECKS, "imatrix")
    return {name: value for name, value in described.items() if name not in idle}


def _digest(path: Path) -> str:
    with fsio.storage_errors(path), open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
