"""What a request asks of the conversion, checked before anything is read."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from modelvault.errors import BadOption
from modelvault_converters.options import read_max_kl, require_known

GROUPS = (128, 64, 32)
"""Sizes of quantisation groups, in input channels."""

_DEVICE = re.compile(r"cpu|cuda(:[0-9]{1,3})?")

MEASURED = ("device", "check", "check_text", "max_kl")
"""Options of every target."""
CALIBRATED = ("calibration", "samples", "sequence_length", "group_size", "seed", *MEASURED)
"""Options of targets that are calibrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a request."""

    calibration: Path | None
    """Text to calibrate with; None for the embedded set."""
    samples: int
    """Sequences at most."""
    sequence_length: int
    """Tokens a sequence at most."""
    group_size: int | None
    """Input channels a group; None for the largest that fits."""
    seed: int
    device: torch.device
    """Where layers are computed."""
    check: bool
    """Whether the result is to be compared with its source, where that costs extra."""
    check_text: Path | None
    """Text that is held out; None for a part of the calibration text."""
    max_kl: float | None
    """Largest acceptable mean divergence, in nats; None for any."""


def read_options(given: Mapping[str, str], target: str, known: Collection[str]) -> Options:
    """Return a request's options.

    Args:
        given: Name → text.
        target: For messages.
        known: Names that the target has a use for.

    Raises:
        BadOption: One is unknown, malformed or out of bounds, or asks for a missing device.
    """
    require_known(given, known, target)
    group = _read_number(given, "group_size", 0, least=32, most=128) or None
    if group and group not in GROUPS:
        raise BadOption(f"--group-size {group}: not one of 128, 64, 32")
    limit = read_max_kl(given.get("max_kl", ""))
    return Options(
        calibration=_read_path(given, "calibration"),
        samples=_read_number(given, "samples", 128, most=65536),
        sequence_length=_read_number(given, "sequence_length", 512, least=2, most=1 << 20),
        group_size=group,
        seed=_read_number(given, "seed", 0, least=0, most=1 << 31),
        device=_read_device(given.get("device", "cpu")),
        check=bool(given.get("check") or given.get("check_text")) or limit is not None,
        check_text=_read_path(given, "check_text"),
        max_kl=limit,
    )


def _read_number(
    given: Mapping[str, str], name: str, default: int, *, least: int = 1, most: int
) -> int:
    if name not in given:
        return default
    text, option = given[name], f"--{name.replace('_', '-')}"
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise BadOption(f"{option} {text:.40}: not a whole number")
    if not least <= int(text) <= most:
        raise BadOption(f"{option} {text}: not from {least} to {most}")
    return int(text)


def _read_path(given: Mapping[str, str], name: str) -> Path | None:
    if not given.get(name):
        return None
    path = Path(given[name])
    if not path.is_file():
        raise BadOption(f"--{name.replace('_', '-')} {path}: there is no such file")
    return path


def _read_device(text: str) -> torch.device:
    if not _DEVICE.fullmatch(text):
        raise BadOption(f"--device {text:.40}: not cpu, cuda or cuda:N")
    device = torch.device(text)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadOption(
            f"--device {text}: torch finds {torch.cuda.device_count()} CUDA devices",
            hint="install a CUDA build of torch and the driver, or leave --device out",
        )
    return device
