"""The tensors that a weight file of PyTorch holds, as a program: it can load tensors alone.

It runs in a process of its own, started by path and importing nothing of this package. Its
unpickler gives out stand-ins for the few names that make up tensors and refuses every other, so
that nothing of the file is run; limits of the kernel bound its memory, its time and its files.

Standard input is the file itself, opened for reading. Standard output is one JSON object:
``{"tensors": [[name, dtype, shape, offset], …]}`` with safetensors' names of types and offsets in
bytes from the start of the file, ``{"unsupported": why}`` for what is no plain list of tensors, or
``{"malformed": why}`` for what is no such file.
"""

import json
import pickle
import resource
import sys
import zipfile
from collections.abc import Iterator
from math import prod
from typing import Any, BinaryIO, NamedTuple

_MEMORY = 2 * 1024**3
_SECONDS = 90
_LARGEST_PICKLE = 256 * 1024 * 1024
_LOCAL = 30
"""Bytes of a local header before its name."""

_TYPES = {
    "DoubleStorage": ("F64", 8),
    "FloatStorage": ("F32", 4),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
    "Float8_e4m3fnStorage": ("F8_E4M3", 1),
}
"""PyTorch's type of storage → safetensors' name of its values, and their bytes."""


class _Unsupported(Exception):
    """What the file asks for is more than tensors."""


class _Storage(NamedTuple):
    dtype: str
    width: int
    key: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Named(dict[str, Any]):
    """Stands for an ordered mapping, which Python's own are."""


def _tensor(storage: Any, first: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise _Unsupported("a tensor without a storage")
    return _Tensor(storage, int(first), tuple(map(int, shape)), tuple(map(int, strides)))


def _parameter(data: Any, *_: Any) -> Any:
    return data


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Named,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class _TensorUnpickler(pickle.Unpickler):
    """Knows what makes up tensors, and nothing else."""

    def find_class(self, module: str, name: str, /) -> Any:
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        if (module, name) not in _NAMES:
            raise _Unsupported(f"its pickle asks for {module:.60}.{name:.60}, which is no tensor")
        return _NAMES[module, name]

    def persistent_load(self, pid: Any, /) -> Any:
        match pid:
            case ("storage", (str(dtype), int(width)), str(key), _, int(length)):
                return _Storage(dtype, width, key, length)
        raise _Unsupported("its pickle refers to something that is no storage")


def list_tensors(file: BinaryIO) -> dict[str, Any]:
    """Return the answer for one file."""
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile:
        return {"unsupported": "it is not of the form that PyTorch writes since release 1.6"}
    try:
        return {"tensors": list(_list(archive, file))}
    except _Unsupported as error:
        return {"unsupported": str(error)}
    except (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, IndexError,
            ValueError, TypeError, AttributeError, OverflowError, MemoryError,
            NotImplementedError, RecursionError, UnicodeDecodeError) as error:  # fmt: skip
        return {"malformed": f"its pickle cannot be read ({type(error).__name__}: {error!s:.100})"}


def _list(archive: zipfile.ZipFile, file: BinaryIO) -> Iterator[list[Any]]:
    places = {info.filename: info for info in archive.infolist()}
    found = [name for name in places if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(found) != 1:
        raise _Unsupported("it holds no single list of tensors")
    root = found[0].removesuffix("data.pkl")
    order = places.get(f"{root}byteorder")
    if order is not None and archive.read(order)[:6] != b"little":
        raise _Unsupported("its bytes are in big-endian order")
    if places[found[0]].file_size > _LARGEST_PICKLE:
        raise _Unsupported("its pickle is larger than that of any model")
    with archive.open(places[found[0]]) as stream:
        loaded = _TensorUnpickler(stream).load()
    if not isinstance(loaded, dict):
        raise _Unsupported("it holds something else than tensors by their names")
    for name, tensor in loaded.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise _Unsupported(f"{name!r:.100} in it is no tensor")
        yield _describe(name, tensor, places[f"{root}data/{tensor.storage.key}"], file)


def _describe(name: str, tensor: _Tensor, place: zipfile.ZipInfo, file: BinaryIO) -> list[Any]:
    storage = tensor.storage
    count = prod(tensor.shape)
    if min((*tensor.shape, tensor.first), default=0) < 0 or tensor.first + count > storage.length:
        raise ValueError(f"tensor '{name:.100}' lies outside its storage")
    if not _is_contiguous(tensor):
        raise _Unsupported(f"tensor '{name:.100}' does not lie in one piece")
    if (
        place.compress_type != zipfile.ZIP_STORED
        or place.file_size < storage.length * storage.width
    ):
        raise ValueError(f"the bytes of tensor '{name:.100}' are not as they should be")
    file.seek(place.header_offset)
    head = file.read(_LOCAL)
    if len(head) != _LOCAL or head[:4] != b"PK\x03\x04":
        raise ValueError("the archive is damaged")
    extra = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    start = place.header_offset + _LOCAL + extra
    return [name, storage.dtype, list(tensor.shape), start + tensor.first * storage.width]


def _is_contiguous(tensor: _Tensor) -> bool:
    expected = 1
    for side, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if side > 1 and stride != expected:
            return False
        expected *= max(side, 1)
    return True


def _limit() -> None:
    """Let the kernel bound what this process may take."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _limit()
    json.dump(list_tensors(sys.stdin.buffer), sys.stdout)
