r"""Whose weights a file holds, by its name: what makes two files copies of one another.

Frameworks name the weights of one model differently: ``model.safetensors``,
``pytorch_model.bin``, ``tf_model.h5``. Such names belong to one *family* in their folder, and so
do files that differ in their suffix alone. A file of any other name is no copy of anything: a
speaker table beside a model is a part of it.

Example:
    >>> parse_weights("unet/diffusion_pytorch_model.fp16.safetensors")
    WeightsName(folder='unet', family='diffusion_model', variant='fp16', format=<WeightFormat...>)
    >>> parse_weights("2_Dense/pytorch_model.bin").family
    'model'
    >>> parse_weights("speakers.pt").family
    'speakers'

Source:
    https://huggingface.co/docs/transformers, https://huggingface.co/docs/diffusers and
    https://huggingface.co/docs/optimum (file names)
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from modelvault.core.model_files import MOST_SHARDS, WeightFormat, indexed_name, weight_format

MODEL = "model"
"""Family of the main weights of a folder."""

_PRECISION = r"(?:fp|bf|float|int)(?:4|8|16|32)(?:_[a-z0-9]+)?|[48]bit|ema|non_ema"
_VARIANT = re.compile(rf"\.({_PRECISION})(?=[.-])", re.IGNORECASE)
_PART = re.compile(r"-(\d{5})-of-(\d{5})(?=(?:\.[a-z0-9_]+)?\.[^.-]+$)", re.IGNORECASE)
_FRAMEWORK = re.compile(r"(?<![a-z0-9])(?:pytorch|tf|flax|rust)_model(?![a-z0-9])")
_ONNX_DATA = re.compile(r"(.*\.onnx)[._]data(?:_\d+)?", re.IGNORECASE)
_EXPORT = re.compile(
    r"(?:(?:encoder|decoder|decoder_with_past)_)?model(?:_merged)?(?:[_-][a-z0-9_]+)?"
)
"""What the exporters of ``optimum`` and ``sentence-transformers`` call files in ``onnx/``."""
_LITE = re.compile(r"\d+(?:-8bits|-fp16)?\.tflite", re.IGNORECASE)
"""What the first models of ``transformers`` call their copies for TensorFlow Lite."""
_EXPORTS = "onnx"
_NO_PICKLE = "model.bin"
"""CTranslate2, fastText and others call a file of their own so; PyTorch's has another name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsName:
    """What the name of a weight file says, or the name of an index of several."""

    folder: str
    """Of the model it belongs to; empty at the top."""
    family: str
    """Same for all copies in a folder, whatever their framework: ``model``."""
    variant: str
    """``fp16`` and the like; empty for the weights that are loaded by default."""
    format: WeightFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a set that is complete only together, whatever its format."""

    whole: str
    """The same for all files of the set: the path with ``*`` for the number."""
    number: int
    count: int

    def name(self, number: int) -> str:
        """Return the path of another file of the set."""
        return self.whole.replace("*", f"{number:05}", 1)


def parse_weights(path: str) -> WeightsName | None:
    """Return whose weights a file holds, or is the index of; None where it holds none."""
    plain = indexed_name(path)
    if match := _ONNX_DATA.fullmatch(plain):
        plain = match[1]
    format_ = weight_format(plain)
    if format_ is None:
        return None
    folder, _, name = plain.rpartition("/")
    found = _VARIANT.search(path.rpartition("/")[2])
    variant = found[1].lower() if found else ""
    stem = _PART.sub("", _VARIANT.sub("", name)).rpartition(".")[0].lower()
    family = _FRAMEWORK.sub(MODEL, stem)
    if _LITE.fullmatch(name):
        family = MODEL
    elif name.lower() == _NO_PICKLE:
        family = _NO_PICKLE
    return WeightsName(folder=folder, family=family, variant=variant, format=format_)


def exported_models(paths: Iterable[str]) -> dict[str, WeightsName]:
    """Return the files in folders ``onnx`` that are exports of the model above them.

    A folder counts where every model in it has a name that an exporter gives: one that is called
    otherwise is a model of its own, and is not to lose its other half.
    """
    folders: dict[str, dict[str, WeightsName]] = {}
    for path in paths:
        name = parse_weights(path)
        if name is not None and name.folder.rpartition("/")[2] == _EXPORTS:
            folders.setdefault(name.folder, {})[path] = name
    return {
        path: WeightsName(
            folder=folder.rpartition("/")[0], family=MODEL, variant="", format=name.format
        )
        for folder, names in folders.items()
        if all(_is_export(name) for name in names.values())
        for path, name in names.items()
    }


def _is_export(name: WeightsName) -> bool:
    return name.format is WeightFormat.ONNX and _EXPORT.fullmatch(name.family) is not None


def parse_part(path: str) -> Part | None:
    """Return which part of which set a weight file is; None for a whole file."""
    match = _PART.search(path)
    if match is None or weight_format(path) is None:
        return None
    part = Part(
        whole=f"{path[: match.start(1)]}*{path[match.end(1) :]}",
        number=int(match[1]),
        count=int(match[2]),
    )
    usable = 1 <= part.count <= MOST_SHARDS and part.number <= part.count
    return part if usable and "*" not in path else None


def missing_parts(paths: Collection[str]) -> dict[str, list[str]]:
    """Return, for each set of which parts are there, the paths of those that are not.

    Numbers begin at 1, or at 0 where a part has that number.

    Args:
        paths: All files; those that are no parts are passed over.

    Returns:
        Set (``Part.whole``) → paths, in order; complete sets are left out.
    """
    found: dict[str, dict[int, Part]] = {}
    for path in paths:
        if part := parse_part(path):
            found.setdefault(part.whole, {})[part.number] = part
    missing: dict[str, list[str]] = {}
    for whole, parts in found.items():
        one = next(iter(parts.values()))
        first = 0 if 0 in parts else 1
        wanted = range(first, first + one.count)
        if absent := [one.name(number) for number in wanted if number not in parts]:
            missing[whole] = absent
    return missing
