"""A blueprint agrees with itself, and with the checkpoint.

The two kinds of disagreement are told apart. A family that describes a tensor twice, or half the
rows of one, is a fault of this program: ``FamilyDefect``, for who wrote the family. Tensors that
are missing or have other shapes are a matter of the model's files: the errors and hints for who
converts it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod

from modelvault.errors import FamilyDefect, ModelVaultError, SourceIncomplete, UnsupportedSource
from modelvault_converters.gguf.families.names import GUIDE, find_key_fault, find_tensor_name
from modelvault_converters.gguf.mxfp4 import DTYPE
from modelvault_converters.gguf.rows import READABLE, Stored
from modelvault_converters.gguf.tensors import Blueprint, Part, Tensor

_FACTORS = (".qweight", ".weight_scale", ".weight_scale_inv", ".weight_packed", ".absmax", ".SCB")
"""What follows a weight's name where a quantised one keeps its parts."""
_BUFFERS = ("I64", "BOOL")
"""Types of tensors that training leaves beside weights."""
_SHOWN = 100
"""Most findings that one report lists."""


def check_blueprint(blueprint: Blueprint) -> None:
    """Refuse a description that cannot be meant so, whatever the checkpoint holds.

    Raises:
        FamilyDefect: It contradicts itself; all findings are listed.
    """
    issues = [
        *_repeated("tensor", [tensor.name for tensor in blueprint.tensors]),
        *_repeated("key", [entry.key for entry in blueprint.entries]),
        *(
            fault
            for entry in blueprint.entries
            if (fault := find_key_fault(blueprint.architecture, entry.key))
        ),
        *(fault for tensor in blueprint.tensors for fault in _tensor_faults(blueprint, tensor)),
        *_row_faults(blueprint),
    ]
    if issues:
        more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
        raise FamilyDefect(
            f"the family of '{blueprint.architecture}' contradicts itself: {issues[0]}{more}",
            hint=f"this is a fault of the program, not of the model: report it, or see {GUIDE}",
            issues=issues[:_SHOWN],
        )


def _repeated(what: str, names: list[str]) -> Iterator[str]:
    counts = Counter(names)
    yield from (f"{what} '{name}' is there {count} times"
                for name, count in counts.items() if count > 1)  # fmt: skip


def _tensor_faults(blueprint: Blueprint, tensor: Tensor) -> Iterator[str]:
    """Yield what is wrong with a tensor of the result, taken by itself."""
    at = f"tensor '{tensor.name}'"
    if not find_tensor_name(blueprint.architecture, tensor.name):
        yield f"the gguf package knows no {at}"
    if (tensor.layer or 0) >= blueprint.layers:
        yield f"{at} is of a block beyond the {blueprint.layers} that there are"
    if (tensor.constant is None) is not bool(tensor.parts):
        yield f"{at} has to be either taken from the source or constant"
    elif tensor.constant is not None and tensor.constant.shape != tensor.shape:
        yield f"{at} has shape {list(tensor.shape)}, its constant {list(tensor.constant.shape)}"
    if not tensor.parts:
        return
    columns = tensor.columns if len(tensor.shape) > 1 else 1
    rows = sum(part.result_rows for part in tensor.parts)
    wide = {part.rows if part.transposed else part.columns for part in tensor.parts}
    if rows * columns != tensor.weights or wide != {columns}:
        found = " or ".join(str(width) for width in sorted(wide))
        yield f"{at} has shape {list(tensor.shape)}, its parts {rows} rows of {found}"
    yield from (f"{at}: {fault}" for part in tensor.parts if (fault := _part_fault(part)))


def _part_fault(part: Part) -> str:
    """Return what is wrong with a part, taken by itself; empty when nothing is."""
    rows = prod(part.shape) // max(part.columns, 1)
    if not 0 <= part.first < part.first + part.rows <= rows:
        last = part.first + part.rows
        return f"rows {part.first} to {last} of '{part.name}', which has {rows}"
    group = len(part.permutation)
    if group and (part.rows % group or set(part.permutation) != set(range(group))):
        return f"'{part.name}' in an order that loses rows"
    if group and part.transposed:
        return f"'{part.name}' both reordered and transposed"
    return ""


def _row_faults(blueprint: Blueprint) -> Iterator[str]:
    """Yield what is wrong with how the rows of the source are shared out."""
    taken: dict[str, list[Part]] = {}
    for tensor in blueprint.tensors:
        for part in tensor.parts:
            taken.setdefault(part.name, []).append(part)
    for name, parts in taken.items():
        if name in blueprint.ignored:
            yield f"source tensor '{name}' is both taken and ignored"
        shapes = {part.shape for part in parts}
        if len(shapes) > 1:
            yield f"source tensor '{name}' has two shapes: {', '.join(map(str, sorted(shapes)))}"
            continue
        own = [part for part in parts if not part.copied]
        if own:
            yield from _share_faults(name, sorted(own, key=lambda part: part.first))


def _share_faults(name: str, parts: list[Part]) -> Iterator[str]:
    """Yield the rows of one source tensor that two parts take, or none."""
    done = 0
    for part in parts:
        if part.first < done:
            yield f"rows {part.first} to {done} of source tensor '{name}' are taken twice"
        elif part.first > done and not part.drops_rest:
            yield f"rows {done} to {part.first} of source tensor '{name}' are taken by nobody"
        done = max(done, part.first + part.rows)
    rows = prod(parts[-1].shape) // max(parts[-1].columns, 1)
    if done < rows and not parts[-1].drops_rest:
        yield f"rows {done} to {rows} of source tensor '{name}' are taken by nobody"


def check_stored(blueprint: Blueprint, stored: Mapping[str, Stored]) -> None:
    """Compare what is needed with what is there; raise the gravest kind, listing all.

    Raises:
        SourceIncomplete: Tensors are missing.
        UnsupportedSource: Shapes, types or names do not fit the architecture.
    """
    parts = {part.name: part for tensor in blueprint.tensors for part in tensor.parts}
    missing = [name for name in parts if name not in stored]
    unknown = [name for name in stored if name not in parts and name not in blueprint.ignored]
    wrong = [issue for name, part in parts.items() if (issue := _compare(part, stored.get(name)))]
    issues = [
        *(f"tensor '{name}' is missing" for name in missing),
        *(f"tensor '{name:.200}' has no place in this architecture" for name in unknown),
        *wrong,
    ]
    if not issues:
        return
    kind: type[ModelVaultError] = SourceIncomplete if missing else UnsupportedSource
    more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
    raise kind(
        f"the weights do not fit config.json: {issues[0]}{more}",
        hint=_advice(blueprint, missing, unknown, stored),
        issues=issues[:_SHOWN],
    )


def _compare(part: Part, stored: Stored | None) -> str:
    """Return what is wrong with a stored tensor; empty when nothing is."""
    if stored is None:
        return ""
    if stored.dtype not in (*READABLE, DTYPE):
        return f"tensor '{part.name}' is of type {stored.dtype:.20}, not {', '.join(READABLE)}"
    if stored.shape != part.shape:
        return f"tensor '{part.name}' has shape {list(stored.shape)}, not {list(part.shape)}"
    return ""


def _advice(
    blueprint: Blueprint, missing: list[str], unknown: list[str], stored: Mapping[str, Stored]
) -> str:
    odd = {tensor.dtype for tensor in stored.values()} - {*READABLE, *_BUFFERS}
    if odd & {"F64"}:
        return "save the model in BF16, F16 or F32"
    if odd or any(name.endswith(_FACTORS) for name in unknown):
        return "the weights look quantised: pull the 16-bit model and convert that"
    if any("lora" in name.lower() for name in stored):
        return "this looks like an adapter: merge it into its base model first"
    if missing:
        return (
            "config.json and the weights are of different models or revisions: compare both with "
            "the publisher's"
        )
    if known := _first_known(blueprint, unknown):
        return (
            f"llama.cpp knows {known}: config.json does not announce it, or this converter's "
            f"description of the family lacks it (who writes the family: see {GUIDE})"
        )
    return "after fine-tuning, save the model again so that config.json and weights agree"


def _first_known(blueprint: Blueprint, unknown: list[str]) -> str:
    """Return the first tensor without a place that the runtime has one for; empty for none."""
    made = {tensor.name for tensor in blueprint.tensors}
    for name in unknown:
        known = find_tensor_name(blueprint.architecture, name)
        if known and known not in made:
            return f"'{name}' as '{known}'"
    return ""
