"""Name the pre-tokenizer of a byte-level BPE by its structure.

llama.cpp knows pre-tokenizers by name. Its own converter recognises one by the ids that a
sample text gets, which fails for every retrained vocabulary. Here the ``pre_tokenizer`` of
``tokenizer.json`` is brought into a canonical form, steps in order, and looked up; together
with ``ignore_merges`` it decides the name, for a name implies that flag in the runtime.

``tests/gguf`` trains a vocabulary for every row and compares ids with the runtime's.

Source:
    llama.cpp ``src/llama-vocab.cpp`` (regular expressions and flags of each name).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from modelvault.errors import BadOption, UnsupportedTokenizer
from modelvault_converters.gguf.tokenizer import deepseek

_ENGLISH = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_CASED_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

LLAMA3 = rf"{_ENGLISH}|{_LEAD}\p{{L}}+|\p{{N}}{{1,3}}|{_TAIL}"
QWEN2 = rf"{_ENGLISH}|{_LEAD}\p{{L}}+|\p{{N}}|{_TAIL}"
TEKKEN = rf"{_LEAD}{_UPPER}*{_LOWER}+|{_LEAD}{_UPPER}+{_LOWER}*|\p{{N}}|{_CASED_TAIL}"
GPT4O = (
    rf"{_LEAD}{_UPPER}*{_LOWER}+{_ENGLISH}?|{_LEAD}{_UPPER}+{_LOWER}*{_ENGLISH}?"
    rf"|\p{{N}}{{1,3}}|{_CASED_TAIL}"
)

_BYTES = "ByteLevel"
_BYTES_SPLITTING = "ByteLevel split"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    name: str
    ignore_merges: bool
    steps: tuple[str, ...]
    near: bool = False
    """Whether the name is the nearest there is, and some texts are cut otherwise."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Architecture → the name of the same cut that llama.cpp's converter gives its models."""


_TABLE = (
    _Known(name="llama-bpe", ignore_merges=True, steps=(f"Split {LLAMA3}", _BYTES)),
    _Known(name="smaug-bpe", ignore_merges=False, steps=(f"Split {LLAMA3}", _BYTES),
           aliases={"olmo2": "dbrx", "phi3": "dbrx", "granite": "dbrx"}),
    _Known(name="qwen2", ignore_merges=False, steps=(f"Split {QWEN2}", _BYTES),
           aliases={"stablelm": "stablelm2"}),
    _Known(name="tekken", ignore_merges=True, steps=(f"Split {TEKKEN}", _BYTES)),
    _Known(name="gpt-4o", ignore_merges=False, steps=(f"Split {GPT4O}", _BYTES)),
    _Known(name="gpt-2", ignore_merges=False, steps=(_BYTES_SPLITTING,),
           aliases={"stablelm": "olmo", "olmo2": "olmo"}),
    _Known(name="smollm", ignore_merges=False, steps=("Digits", _BYTES_SPLITTING),
           aliases={"granite": "refact", "command-r": "command-r", "cohere2": "command-r"}),
    _Known(name="deepseek-llm", ignore_merges=False, steps=deepseek.LLM),
    _Known(name="deepseek-coder", ignore_merges=False, steps=deepseek.CODER),
    _Known(name="deepseek-v3", ignore_merges=False, steps=deepseek.V3),
    _Known(name="deepseek-llm", ignore_merges=False, steps=deepseek.WORDS_AND_NUMBERS, near=True),
)  # fmt: skip

_NAMES = """
    default llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 deepseek-llm
    deepseek-coder deepseek-v3 falcon mpt starcoder gpt-2 phi-2 jina-es jina-de gigachat
    jina-v2-es jina-v2-de a.x-4.0 mellum jina-v1-en jina-v2-code roberta-bpe refact command-r
    qwen2 deepseek-r1-qwen kormo stablelm2 olmo dbrx smaug-bpe poro-chat glm4 chatglm-bpe viking
    jais tekken smollm codeshell bloom gpt3-finnish exaone exaone4 chameleon minerva-7b megrez
    gpt-4o llama4 superbpe trillion granite-docling bailingmoe bailingmoe2 llada-moe seed-coder
    hunyuan hunyuan-dense kimi-k2 grok-2 afmoe minimax-m2
"""
RUNTIME_NAMES = frozenset(_NAMES.split())
"""Names that llama.cpp accepts; it refuses to load a file with any other."""

_R1_START = "<｜begin▁of▁sentence｜>"  # noqa: RUF001
"""What the texts of DeepSeek's models begin with, those distilled into Qwen as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The name, and what the user should know about it."""

    name: str
    warnings: tuple[str, ...] = ()


def find_pre_tokenizer(
    file: dict[str, Any], *, override: str = "", architecture: str = ""
) -> Found:
    """Return the runtime's name for the pre-tokenizer of ``tokenizer.json``.

    Args:
        file: The parsed file.
        override: A name to take instead; empty for none.
        architecture: ``general.architecture``, which chooses between names of the same cut.

    Raises:
        UnsupportedTokenizer: The structure is not in the table.
        BadOption: No runtime knows the overriding name.
    """
    if override:
        return _take(override)
    ignore_merges = file["model"].get("ignore_merges") is True
    found = tuple(steps(file.get("pre_tokenizer")))
    for known in _TABLE:
        if known.steps == found and known.ignore_merges == ignore_merges:
            return Found(
                name=_alias(known, architecture, file),
                warnings=_near_warnings(known) + _normalizer_warnings(file),
            )
    shown = " → ".join(found) or "nothing"
    raise UnsupportedTokenizer(
        f"no runtime name is known for this pre-tokenizer: {shown:.500} "
        f"(ignore_merges: {str(ignore_merges).lower()})",
        hint="if you know the name that llama.cpp gives it, name it by --pre-tokenizer",
    )


def _alias(known: _Known, architecture: str, file: dict[str, Any]) -> str:
    """Return the name that llama.cpp's converter gives, where several mean the same cut."""
    distilled = _R1_START in str(file.get("added_tokens"))
    if architecture == "qwen2" and known.name == "qwen2" and distilled:
        return "deepseek-r1-qwen"
    return known.aliases.get(architecture, known.name)


def _take(override: str) -> Found:
    if override not in RUNTIME_NAMES:
        near = get_close_matches(override, sorted(RUNTIME_NAMES), n=1, cutoff=0.0)[0]
        raise BadOption(
            f"--pre-tokenizer: llama.cpp knows no '{override:.100}'", hint=f"the nearest is {near}"
        )
    warning = f"the pre-tokenizer is '{override}' by option: compare token ids before relying on it"
    return Found(name=override, warnings=(warning,))


def _near_warnings(known: _Known) -> tuple[str, ...]:
    if not known.near:
        return ()
    warning = (
        f"the pre-tokenizer is near '{known.name}', not equal to it: texts in scripts without "
        "upper and lower case (Korean, Chinese, Arabic) may get other tokens than in training"
    )
    return (warning,)


def _normalizer_warnings(file: dict[str, Any]) -> tuple[str, ...]:
    names = [str(rule.get("type")) for rule in flatten(file.get("normalizer"))]
    if not names:
        return ()
    warning = (
        f"the tokenizer normalises text first ({', '.join(names):.100}); llama.cpp does not: text "
        "that is not in that form already gets other tokens"
    )
    return (warning,)


def steps(rules: object) -> Iterator[str]:
    """Yield the canonical form of a ``pre_tokenizer``, one text a step."""
    for rule in flatten(rules):
        yield _canonical(rule)


def flatten(rules: object) -> Iterator[dict[str, Any]]:
    """Yield the rules of a normalizer or pre-tokenizer in order, sequences opened."""
    if not isinstance(rules, dict):
        return
    if rules.get("type") != "Sequence":
        yield rules
        return
    for key in ("pretokenizers", "normalizers"):
        inner = rules.get(key)
        for rule in inner if isinstance(inner, list) else ():
            yield from flatten(rule)


def _canonical(rule: dict[str, Any]) -> str:
    """Return a rule as text; options that change nothing are left out."""
    match rule:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}:
            return _BYTES
        case {"type": "ByteLevel", "add_prefix_space": False}:
            return _BYTES_SPLITTING  # use_regex is on where it is not said
        case {"type": "Digits", "individual_digits": True}:
            return "Digits"
        case {
            "type": "Split",
            "pattern": {"Regex": str(pattern)},
            "behavior": "Isolated",
            "invert": False,
        }:
            return f"Split {_escaped(pattern)}"
        # The same cut, said the other way round: what matches is kept, the rest removed.
        case {
            "type": "Split",
            "pattern": {"Regex": str(pattern)},
            "behavior": "Removed",
            "invert": True,
        }:
            return f"Split {_escaped(pattern)}"
    return str(rule)


def _escaped(pattern: str) -> str:
    """Return an expression with line ends spelled as escapes, which mean the same."""
    return pattern.replace("\r", r"\r").replace("\n", r"\n")
