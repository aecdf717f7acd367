"""What the vault and a converter say to each other over a pipe.

The converter runs in a child process (``python -m <module of the entry point>``). It
reads one request, a JSON object, from standard input, and writes events, one JSON object
a line, to standard output; standard error is kept for the report of a crash. Paths in
a request are absolute and read-only: a converter never sees the vault, only the files.

Example:
    >>> event = parse_event(b'{"event":"warning","message":"below Q4"}')
    >>> event
    Warned(message='below Q4')
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from modelvault.errors import ConverterCrashed

PROTOCOL = 1

RESUME = "resume.json"
"""File in the output folder that marks an interrupted conversion which can go on.

The same work finds the folder again; "same" is what the vault can see of it: parent, targets
and options. Whether release and libraries fit, and whether everything the file vouches for is
still there, is for the converter to find out; it begins anew where not.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of the source model."""

    path: str
    """Path inside the model, such as ``model-00001-of-00002.safetensors``."""
    location: str
    """Absolute path of the bytes on disk; opened read-only."""
    size: int
    """Length in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the vault asks for."""

    model: str
    """``ORG/NAME``."""
    revision: str
    license: str
    """Licence tag, or empty."""
    files: tuple[SourceFile, ...]
    targets: tuple[str, ...]
    """Types in the field's spelling: ``F16``, ``Q4_K_M`` …"""
    output: str
    """Existing folder: empty, or with ``RESUME`` and what an interrupted run left."""
    plan_only: bool = False
    """Report ``Planned`` and ``Laid`` events and stop before the first output byte."""
    threads: int = 0
    """Worker threads; 0 for one per core."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Converter options, such as ``imatrix`` (absolute path) or ``pre_tokenizer``."""
    ask_only: bool = False
    """Only report ``Assessed``, by the configuration and the names of the files: the others are
    not there yet, and have no location."""

    def encode(self) -> bytes:
        """Return the request as one JSON object."""
        values = {"protocol": PROTOCOL, **asdict(self)}
        if not self.ask_only:
            del values["ask_only"]  # converters that know no questions are asked none
        return json.dumps(values).encode()

    @classmethod
    def parse(cls, data: bytes) -> "Request":
        """Return the request encoded in ``data``.

        Raises:
            ConverterCrashed: Another protocol version, or not a request.
        """
        try:
            value: dict[str, Any] = json.loads(data)
            if value.pop("protocol") != PROTOCOL:
                raise ConverterCrashed("vault and converter speak different protocol versions")
            value["files"] = tuple(SourceFile(**item) for item in value["files"])
            value["targets"] = tuple(value["targets"])
            return cls(**value)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConverterCrashed(f"not a conversion request: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessed:
    """What can be made of a model, as far as its configuration and its files' names tell."""

    targets: tuple[str, ...]
    """Types in the field's spelling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A target was planned: everything is mapped and its size is known."""

    target: str
    size: int
    """Bytes the result will take."""
    tensors: int
    parameters: int
    """Number of weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTensor:
    """Where one tensor of a target will lie."""

    name: str
    type: str
    """As the format spells it: ``Q4_K``, ``I32`` …"""
    shape: tuple[int, ...]
    """Slowest dimension first, whatever the file's order."""
    file: str
    """Name relative to the output folder."""
    offset: int
    """Bytes from the start of the file."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """Some of a target's tensors, in the order of the file; part of a plan only."""

    target: str
    tensors: tuple[PlannedTensor, ...]
    """A few hundred at most: an event is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """A step of a long conversion was done."""

    target: str
    step: str
    """What was done, such as ``scales of q_proj, k_proj, v_proj``; ``layer`` for all of it."""
    layer: int
    """From 1."""
    layers: int
    loss_before: float | None = None
    """Error before the step, relative to the outputs; of plain rounding."""
    loss_after: float | None = None
    seconds_left: float | None = None
    """Time until the target is finished, as far as it can be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """Bytes of a target were written."""

    target: str
    done: int
    """Bytes written so far, of ``Planned.size``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """A target is finished, closed and flushed to disk."""

    target: str
    files: tuple[str, ...]
    """Names relative to the output folder, in the order of the artefact's manifest."""
    format: str
    """``gguf``, ``safetensors``."""
    quantization: str
    tools: Mapping[str, str]
    """Library name → version."""
    parameters: Mapping[str, str]
    """Everything that shaped the result, as text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something the user should know."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The conversion cannot be done; ``error`` is a class name of ``modelvault.errors``."""

    error: str
    message: str
    hint: str = ""
    issues: tuple[str, ...] = ()


_Checked = TypeVar("_Checked", bound="Event | PlannedTensor")

Event = Assessed | Planned | Laid | Advanced | Stepped | Produced | Warned | Failed

_EVENTS: dict[str, type[Event]] = {
    "assessed": Assessed,
    "planned": Planned,
    "laid": Laid,
    "advanced": Advanced,
    "stepped": Stepped,
    "produced": Produced,
    "warning": Warned,
    "failed": Failed,
}
_NAMES = {kind: name for name, kind in _EVENTS.items()}
_LISTS = ("files", "issues", "targets")
_BATCH = 500
_BATCH_TEXT = 64 * 1024
"""Characters of names in one ``Laid``; escaped, they take six times as many bytes."""


def lay(target: str, tensors: Iterable[PlannedTensor]) -> Iterator[Laid]:
    """Yield a target's tensors as events that stay far below the longest line."""
    batch: list[PlannedTensor] = []
    length = 0
    for tensor in tensors:
        text = len(tensor.name) + len(tensor.file)
        if batch and (len(batch) == _BATCH or length + text > _BATCH_TEXT):
            yield Laid(target=target, tensors=tuple(batch))
            batch, length = [], 0
        batch.append(tensor)
        length += text
    if batch:
        yield Laid(target=target, tensors=tuple(batch))


def encode_event(event: Event) -> bytes:
    """Return the event as one line, newline included; a figure that is no number is left out."""
    values = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(event).items()
    }
    return json.dumps({"event": _NAMES[type(event)], **values}).encode() + b"\n"


def parse_event(line: bytes) -> Event:
    """Return the event written in ``line``.

    Raises:
        ConverterCrashed: The line is not an event.
    """
    try:
        value: dict[str, Any] = json.loads(line)
        kind = _EVENTS[value.pop("event")]
        for name in _LISTS:
            if name in value:
                value[name] = tuple(value[name])
        if kind is Laid:
            value["tensors"] = tuple(_parse_tensor(item) for item in value["tensors"])
        return _checked(kind(**value))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConverterCrashed(f"the converter broke the protocol: {line[:200]!r}") from error


def _parse_tensor(value: dict[str, Any]) -> PlannedTensor:
    return _checked(PlannedTensor(**{**value, "shape": tuple(value["shape"])}))


def _checked(item: _Checked) -> _Checked:
    """Return the item, each field of which holds what its annotation says.

    Raises:
        TypeError: A field holds something else.
    """
    for part in fields(item):
        if not _fits(getattr(item, part.name), part.type):
            raise TypeError(f"{part.name} is not of its type")
    return item


def _fits(value: object, kind: object) -> bool:
    if kind in {int, str}:
        return type(value) is kind
    if kind == float | None:
        return value is None or (type(value) in {int, float} and math.isfinite(value))  # type: ignore[arg-type]
    if kind == tuple[int, ...]:
        return all(type(element) is int for element in value)  # type: ignore[attr-defined]
    if kind == tuple[str, ...]:
        return all(type(element) is str for element in value)  # type: ignore[attr-defined]
    if kind == Mapping[str, str]:
        return isinstance(value, dict) and _fits(tuple(value.values()), tuple[str, ...])
    return True
