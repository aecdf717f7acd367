"""GGUF's names of tensors and keys, from the tables of the gguf package.

The package, which llama.cpp's own converter uses, lists for every architecture the tensors that
the runtime knows, the names that publishers give them, and every metadata key. A family therefore
says the Hub's name alone. A block's number plays no part in a name, so the table is made for one
block, whatever a configuration says.

Example:
    >>> tensor_name("qwen2", "model.layers.17.mlp.down_proj.weight")
    'blk.17.ffn_down.weight'
"""

import functools
import re
from collections.abc import Iterator
from difflib import get_close_matches

import gguf

from modelvault.errors import FamilyDefect

GUIDE = "docs/guides/add-a-family.md"
_BLOCK = re.compile(r"(?:(?<=\.)|^)\d+(?=\.)")
_SUFFIXES = (".weight", ".bias")


def find_tensor_name(architecture: str, source: str) -> str:
    """Return GGUF's name of a tensor; empty where the package knows none.

    Args:
        architecture: ``general.architecture``.
        source: Name on the Hub, or in GGUF already.

    Raises:
        FamilyDefect: The package does not know the architecture.
    """
    number = _BLOCK.search(source)
    first = _BLOCK.sub("0", source, count=1)
    name: str | None = _tensors(architecture).get_name(first, try_suffixes=_SUFFIXES)
    if name is None or number is None:
        return name or ""
    return name.replace("blk.0.", f"blk.{number[0]}.", 1)


def tensor_name(architecture: str, source: str) -> str:
    """Return GGUF's name of a tensor.

    Args:
        architecture: ``general.architecture``.
        source: Name on the Hub.

    Raises:
        FamilyDefect: The package does not know the architecture, or no such tensor of it.
    """
    name = find_tensor_name(architecture, source)
    if not name:
        raise FamilyDefect(
            f"the gguf package knows no tensor '{source:.200}' of '{architecture}'",
            hint=f"say GGUF's name with name=…, see {GUIDE}",
        )
    return name


def find_key_fault(architecture: str, key: str) -> str:
    """Return what is wrong with a key of an architecture; empty when nothing is.

    Args:
        architecture: ``general.architecture``.
        key: A metadata key; one that belongs to no architecture is not looked at.
    """
    prefix = f"{architecture}."
    if not key.startswith(prefix):
        return ""
    name = "{arch}." + key.removeprefix(prefix)
    if name in _keys():
        return ""
    near = get_close_matches(name, _keys(), n=1, cutoff=0.0)[0]
    return (
        f"the gguf package knows no key '{key:.200}' "
        f"(the nearest is '{near.replace('{arch}', architecture)}')"
    )


@functools.cache
def _tensors(architecture: str) -> gguf.TensorNameMap:
    for number, name in gguf.MODEL_ARCH_NAMES.items():
        if name == architecture:
            return gguf.get_tensor_name_map(number, 1)
    near = get_close_matches(architecture, gguf.MODEL_ARCH_NAMES.values(), n=1, cutoff=0.0)[0]
    raise FamilyDefect(
        f"the gguf package knows no architecture '{architecture:.100}'",
        hint=f"the nearest is '{near}', see {GUIDE}",
    )


@functools.cache
def _keys() -> frozenset[str]:
    """Return every key that an architecture may have, with ``{arch}`` before it."""
    return frozenset(key for key in _texts(gguf.Keys) if key.startswith("{arch}."))


def _texts(group: type) -> Iterator[str]:
    for value in vars(group).values():
        if isinstance(value, type):
            yield from _texts(value)
        elif isinstance(value, str):
            yield value
