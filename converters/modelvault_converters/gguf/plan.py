"""Decide everything before a byte is written: every tensor's source, type, place and size.

What the configuration promises is compared with what the weight files hold, and all that does
not fit is reported together.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from modelvault.core.ggml import GgmlType
from modelvault.core.protocol import Request
from modelvault.errors import UnsupportedTarget
from modelvault_converters.checkpoint import Checkpoint
from modelvault_converters.gguf import families, fp8, mxfp4, reranker
from modelvault_converters.gguf.agreement import check_blueprint, check_stored
from modelvault_converters.gguf.container import Container, lay_out
from modelvault_converters.gguf.imatrix import Importance, open_importance
from modelvault_converters.gguf.metadata import file_entries, general_entries
from modelvault_converters.gguf.mix import choose_types
from modelvault_converters.gguf.pooling import pooling_entries
from modelvault_converters.gguf.rows import READABLE, Stored, read_tensors
from modelvault_converters.gguf.scaling import read_scaling
from modelvault_converters.gguf.spelling import HEAD, is_bare, spelled
from modelvault_converters.gguf.tensors import Blueprint, Entry, Tensor
from modelvault_converters.gguf.tokenizer import Tokenizer, read_tokenizer
from modelvault_converters.gguf.tokenizer.check import Comparison, compare_ids
from modelvault_converters.gguf.types import CONVERTED, Target, find_target
from modelvault_converters.options import require_known

_OPTIONS = ("pre_tokenizer", "task", "imatrix", "check", "check_text", "max_kl")
_COMPARED = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTarget:
    """One file to write."""

    target: Target
    file: str
    """Name inside the output folder."""
    container: Container

    @property
    def types(self) -> frozenset[GgmlType]:
        """Return the types that rows are to be turned into."""
        made = (placed for placed in self.container.tensors if placed.tensor.carried is None)
        return frozenset(placed.type for placed in made)

    def unseen(self, importance: Importance) -> tuple[str, ...]:
        """Return the names of tensors of which the matrix saw some columns not at all."""
        return importance.unseen(
            (placed.tensor.name, placed.type)
            for placed in self.container.tensors
            if placed.type.is_quantized and placed.tensor.carried is None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole conversion: one pass over ``tensors`` writes every target."""

    tensors: tuple[Tensor, ...]
    stored: Mapping[str, Stored]
    targets: tuple[PlannedTarget, ...]
    importance: Importance | None
    """How much each column matters; None for all alike."""
    parameters: Mapping[str, str]
    """What shaped the result beyond the source, as text."""
    warnings: tuple[str, ...]

    @property
    def weights(self) -> int:
        """Number of weights of the model."""
        return sum(tensor.weights for tensor in self.tensors)


def make_plan(request: Request, stack: ExitStack) -> Plan:
    """Return the plan of a conversion; the weight files stay open as long as ``stack``.

    Raises:
        UnsupportedTarget: A type is unknown, asked for twice, or lacks its importance matrix.
        BadOption: An option is unknown or its value is.
        UnsupportedArchitecture: No family knows the model.
        UnsupportedTokenizer: The tokenizer cannot be expressed.
        UnsupportedSource: Already quantised, not safetensors, or shapes that do not fit.
        SourceIncomplete: Files or tensors are missing.
        FamilyDefect: The model's family is described wrongly.
        MalformedWeights: A weight file is malformed.
        MalformedRecord: A JSON file is malformed.
    """
    targets = _read_targets(request)
    require_known(request.options, _OPTIONS, "the GGUF converter")
    source = Checkpoint(request.files)
    config = source.configuration()
    describe = families.find_family(config)
    read = fp8.scaled(read_tensors(source, stack), read_scaling(config))
    config, stored = _settle(config, read), spelled(read)
    if families.alternates(config):
        stored = mxfp4.experts_apart(stored)
    blueprint = describe(config, {name: tensor.shape for name, tensor in stored.items()})
    check_blueprint(blueprint)
    tokenizer = read_tokenizer(
        source,
        config,
        architecture=blueprint.architecture,
        rows=blueprint.vocabulary,
        special=blueprint.special,
        pre_tokenizer=request.options.get("pre_tokenizer", ""),
    )
    blueprint, notes = _settle_tied_output(blueprint, stored)
    ranking = reranker.ranks(request, source, config, blueprint, tokenizer.special.templates)
    if ranking:
        blueprint, tokenizer = reranker.rank(blueprint, tokenizer)
    check_stored(blueprint, stored)
    blueprint = _carry_packed(blueprint, stored)
    tensors = tuple(sorted(blueprint.tensors, key=_file_order))
    entries = (
        *general_entries(request, source, blueprint, tokenizer.vocabulary.tokens),
        *blueprint.entries,
        *pooling_entries(source, blueprint),
        *tokenizer.entries(),
    )
    compared = compare_ids(source, tokenizer, entries)
    importance = open_importance(request, stack)
    planned = tuple(
        _lay_out(request, target, blueprint, tensors, entries, weighted=importance is not None)
        for target in targets
    )
    notes += _check_importance(importance, planned)
    return Plan(
        tensors=tensors,
        stored=stored,
        targets=planned,
        importance=importance,
        parameters=_parameters(request, tokenizer, compared, ranking=ranking),
        warnings=(*blueprint.warnings, *tokenizer.warnings, *compared.warnings, *notes),
    )


def _settle(config: dict[str, Any], stored: Mapping[str, Stored]) -> dict[str, Any]:
    """Return a configuration that says one class, and no output where an embedder has none."""
    settled = config | {"architectures": [families.read_architecture(config)]}
    if is_bare(stored) and HEAD not in stored:
        settled["tie_word_embeddings"] = True
    return settled


def _carry_packed(blueprint: Blueprint, stored: Mapping[str, Stored]) -> Blueprint:
    """Return the blueprint with every tensor marked that is stored in a type of the runtime's."""
    tensors = tuple(
        replace(tensor, carried=GgmlType.MXFP4)
        if any(stored[part.name].dtype == mxfp4.DTYPE for part in tensor.parts)
        else tensor
        for tensor in blueprint.tensors
    )
    return replace(blueprint, tensors=tensors)


def _read_targets(request: Request) -> tuple[Target, ...]:
    if not request.targets or len(set(request.targets)) != len(request.targets):
        raise UnsupportedTarget("every type is to be asked for once", hint="name each type once")
    return tuple(find_target(name) for name in request.targets)


def _file_order(tensor: Tensor) -> tuple[int, str]:
    """Order of llama.cpp's quantiser: what belongs to no block, then block by block."""
    return (-1 if tensor.layer is None else tensor.layer, tensor.name)


def _lay_out(
    request: Request,
    target: Target,
    blueprint: Blueprint,
    tensors: tuple[Tensor, ...],
    entries: Sequence[Entry],
    *,
    weighted: bool,
) -> PlannedTarget:
    types = choose_types(target, blueprint, tensors, weighted=weighted)
    name = request.model.rpartition("/")[2]
    return PlannedTarget(
        target=target,
        file=f"{name}-{target.name}.gguf",
        container=lay_out(
            _tokenizer_last((*entries, *file_entries(target.file_type))),
            tensors,
            types,
            squeezed=target.name not in CONVERTED,
        ),
    )


def _tokenizer_last(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the entries with those of the tokenizer last, each kind in its order.

    Lists of models, Ollama's for one, read no further than the first key of a tokenizer.
    """
    return tuple(sorted(entries, key=lambda entry: entry.key.startswith("tokenizer.")))


def _check_importance(
    importance: Importance | None, planned: Sequence[PlannedTarget]
) -> tuple[str, ...]:
    """Return warnings about what an importance matrix leaves out.

    Raises:
        UnsupportedTarget: A type that demands one would be garbage.
        BadOption: The matrix was made for another model.
    """
    blocks = {
        placed.tensor.name: placed.tensor
        for item in planned
        for placed in item.container.tensors
        if placed.type.is_quantized and placed.tensor.carried is None
    }
    missing = importance.check(blocks.values()) if importance else tuple(blocks)
    for item in planned:
        if item.target.needs_importance and missing:
            lost = "" if importance is None else f" (nothing is known of '{missing[0]}')"
            raise UnsupportedTarget(
                f"{item.target.name} is garbage without an importance matrix{lost}",
                hint="give one with --imatrix FILE, or choose a larger type",
            )
    if importance is None:
        return ()
    notes = []
    if missing:
        more = " …" if len(missing) > 3 else ""
        notes.append(
            f"the importance matrix says nothing of {len(missing)} tensors, which are quantised "
            f"without it: {', '.join(missing[:3])}{more}"
        )
    unseen = {name: None for item in planned for name in item.unseen(importance)}
    if unseen:
        notes.append(
            f"the importance matrix is zero for whole blocks of {len(unseen)} tensors; their "
            f"columns count as not seen, for they would become zeros: {', '.join(unseen)}"
        )
    return tuple(notes)


def _parameters(
    request: Request, tokenizer: Tokenizer, compared: Comparison, *, ranking: bool
) -> dict[str, str]:
    return {
        "mix": "llama.cpp 0c1e57098",
        **({"task": reranker.RANK} if ranking else {}),
        "pre_tokenizer": tokenizer.vocabulary.pre,
        **({"pre_tokenizer_source": "option"} if request.options.get("pre_tokenizer") else {}),
        **({"token_ids_equal": compared.reference} if compared.reference else {}),
    }


def _settle_tied_output(
    blueprint: Blueprint, stored: Mapping[str, Stored]
) -> tuple[Blueprint, tuple[str, ...]]:
    """Decide what becomes of an ``lm_head`` in a checkpoint that says it shares the embedding.

    A true copy is left out. One that differs was trained apart, so it is kept, as transformers
    keeps it.
    """
    head = stored.get(HEAD)
    embedding = next((item for item in blueprint.tensors if item.name == "token_embd.weight"), None)
    if not blueprint.tied or head is None or embedding is None or HEAD in blueprint.ignored:
        return blueprint, ()
    twin = stored.get(embedding.parts[0].name)
    if twin is not None and _same_values(head, twin):
        return replace(blueprint, ignored=blueprint.ignored | {HEAD}), ()
    part = replace(embedding.parts[0], name=HEAD)
    output = Tensor(name="output.weight", shape=embedding.shape, parts=(part,))
    untied = replace(blueprint, tensors=(*blueprint.tensors, output), tied=False)
    note = (
        "config.json ties the output to the embedding, but the checkpoint holds a different "
        "lm_head.weight: it is used"
    )
    return untied, (note,)


def _same_values(one: Stored, other: Stored) -> bool:
    if (one.shape, one.dtype, len(one.shape)) != (other.shape, other.dtype, 2):
        return False
    if one.dtype not in READABLE:
        return False
    step = max(1, _COMPARED // max(one.size // max(one.shape[0], 1), 1))
    for start in range(0, one.shape[0], step):
        stop = min(start + step, one.shape[0])
        if (one.file.read_rows(one, start, stop) != other.file.read_rows(other, start, stop)).any():
            return False
    return True
