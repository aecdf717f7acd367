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
from modelvault_converters.gguf.tokenizer.expressions import (
    ASIAN,
    BLOOM,
    BLOOM_NESTED,
    CHAMELEON,
    EXAONE_MOE,
    GPT2,
    GPT4O,
    GROUPS_FROM_THE_END,
    JAIS2,
    LINES,
    LLAMA3,
    MINICPM5,
    QWEN2,
    QWEN35,
    SEED_CODER,
    SUPER_GROUPS,
    TEKKEN,
    THREE_DIGITS,
    THREE_FROM_THE_END,
    UFAKZEKA,
    YOUTU,
    YOUTU_SCRIPTS,
    plain,
)
from modelvault_converters.gguf.tokenizer.merging import merges_suffice

_BYTES = "ByteLevel"
_BYTES_SPLITTING = "ByteLevel split"
_DIGITS, _NUMBERS = "Digits", "Digits whole"
_PUNCTUATION, _PUNCTUATION_RUNS = "Punctuation", "Punctuation runs"
_PUNCTUATIONS = {"Isolated": _PUNCTUATION, "Contiguous": _PUNCTUATION_RUNS}

_KEEPING = (("Isolated", False), ("Removed", True))
"""The same cut, said in two ways: what matches stands alone, or it is kept and the rest removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    name: str
    ignore_merges: bool
    steps: tuple[str, ...]
    near: bool = False
    """Whether the name is the nearest there is, and some texts are cut otherwise."""
    newest: bool = False
    """Whether only the latest runtimes know the name, and another one of the same cut is better
    where it is as right."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Architecture → the name of the same cut that llama.cpp's converter gives its models."""


_TABLE = (
    _Known(name="llama-bpe", ignore_merges=True, steps=(f"Split {LLAMA3}", _BYTES),
           aliases={"glm4": "glm4", "glm4moe": "glm4", "chatglm": "glm4", "lfm2": "lfm2",
                    "lfm2moe": "lfm2", "falcon-h1": "falcon-h1"}),
    _Known(name="smaug-bpe", ignore_merges=False, steps=(f"Split {LLAMA3}", _BYTES),
           aliases={"olmo2": "dbrx", "phi3": "dbrx", "granite": "dbrx", "dbrx": "dbrx",
                    "chatglm": "chatglm-bpe"}),
    _Known(name="qwen2", ignore_merges=False, steps=(f"Split {QWEN2}", _BYTES),
           aliases={"stablelm": "stablelm2", "glm4moe": "solar-open", "grok": "grok-2",
                    "hunyuan-moe": "hunyuan", "bailingmoe": "bailingmoe",
                    "bailingmoe2": "bailingmoe2", "llada-moe": "llada-moe"}),
    _Known(name="qwen35", ignore_merges=False, steps=(f"Split {QWEN35}", _BYTES)),
    _Known(name="tekken", ignore_merges=True, steps=(f"Split {TEKKEN}", _BYTES)),
    _Known(name="gpt-4o", ignore_merges=False, steps=(f"Split {GPT4O}", _BYTES),
           aliases={"deepseek2": "kanana2", "llama4": "llama4", "minimax-m2": "minimax-m2",
                    "talkie": "talkie"}),
    _Known(name="granite-embed-multi-97m", ignore_merges=True, steps=(f"Split {GPT4O}", _BYTES),
           newest=True),
    _Known(name="gpt-2", ignore_merges=False, steps=(_BYTES_SPLITTING,),
           aliases={"stablelm": "olmo", "olmo2": "olmo", "olmo": "olmo", "exaone4": "exaone4",
                    "modern-bert": "modern-bert", "qwen2": "a.x-4.0", "deepseek2": "gigachat",
                    "bert": "roberta-bpe", "phi2": "phi-2", "mpt": "mpt", "jais": "jais"}),
    _Known(name="smollm", ignore_merges=False, steps=(_DIGITS, _BYTES_SPLITTING),
           aliases={"granite": "refact", "command-r": "command-r", "cohere2": "command-r",
                    "exaone": "exaone", "starcoder2": "starcoder", "codeshell": "codeshell",
                    "mellum": "mellum2"}),
    _Known(name="exaone-moe", ignore_merges=False, steps=(f"Split {EXAONE_MOE}", _BYTES)),
    _Known(name="jais-2", ignore_merges=False, steps=(f"Split {JAIS2}", _BYTES)),
    _Known(name="seed-coder", ignore_merges=False, steps=(f"Split {SEED_CODER}", _BYTES)),
    _Known(name="ufakzeka", ignore_merges=False, steps=(f"Split {UFAKZEKA}", _BYTES)),
    _Known(name="minicpm5", ignore_merges=True,
           steps=(f"Split {THREE_DIGITS}", f"Split {MINICPM5}", _BYTES)),
    _Known(name="youtu", ignore_merges=True,
           steps=(f"Split {YOUTU_SCRIPTS}", f"Split {YOUTU}", _BYTES)),
    _Known(name="tiny_aya", ignore_merges=False,
           steps=(f"Split {THREE_FROM_THE_END}", f"Split {GPT4O}", _BYTES),
           aliases={"cohere2moe": "cohere2moe"}),
    _Known(name="afmoe", ignore_merges=False,
           steps=(f"Split {GROUPS_FROM_THE_END}", f"Split {ASIAN}", f"Split {deepseek.V3_TEXT}",
                  _BYTES)),
    _Known(name="laguna", ignore_merges=False, steps=(f"Split {LINES}", f"Split {QWEN2}", _BYTES)),
    _Known(name="superbpe", ignore_merges=False,
           steps=(_NUMBERS, f"Split {SUPER_GROUPS}", _BYTES)),
    _Known(name="bloom", ignore_merges=False, steps=(f"Split {BLOOM}", _BYTES)),
    _Known(name="bloom", ignore_merges=False, steps=(f"Split {BLOOM_NESTED}", _BYTES)),
    _Known(name="viking", ignore_merges=False, steps=(f"Split {BLOOM}", _DIGITS, _BYTES)),
    _Known(name="viking", ignore_merges=False, steps=(f"Split {BLOOM_NESTED}", _DIGITS, _BYTES)),
    _Known(name="falcon", ignore_merges=False,
           steps=(_PUNCTUATION_RUNS, _BYTES_SPLITTING, _NUMBERS, "Split [0-9][0-9][0-9]")),
    _Known(name="chameleon", ignore_merges=False,
           steps=(*(f"Split {item}" for item in CHAMELEON), _DIGITS, _PUNCTUATION,
                  _BYTES_SPLITTING)),
    _Known(name="deepseek-llm", ignore_merges=False, steps=deepseek.LLM),
    _Known(name="deepseek-coder", ignore_merges=False, steps=deepseek.CODER),
    _Known(name="deepseek-v3", ignore_merges=False, steps=deepseek.V3,
           aliases={"hunyuan-dense": "hunyuan-dense", "hunyuan_v4": "hy_v4"}),
    _Known(name="spark2_5", ignore_merges=False, steps=deepseek.SPARK),
    _Known(name="deepseek-llm", ignore_merges=False, steps=deepseek.WORDS_AND_NUMBERS, near=True),
)  # fmt: skip

_NAMES = """
    default llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 deepseek-llm
    deepseek-coder deepseek-v3 falcon mpt starcoder gpt-2 phi-2 jina-es jina-de gigachat
    jina-v2-es jina-v2-de a.x-4.0 mellum jina-v1-en jina-v2-code roberta-bpe refact command-r
    qwen2 deepseek-r1-qwen kormo stablelm2 olmo dbrx smaug-bpe poro-chat glm4 chatglm-bpe viking
    jais tekken smollm codeshell bloom gpt3-finnish exaone exaone4 chameleon minerva-7b megrez
    gpt-4o llama4 superbpe trillion granite-docling bailingmoe bailingmoe2 llada-moe seed-coder
    hunyuan hunyuan-dense kimi-k2 grok-2 afmoe minimax-m2 cohere2moe exaone-moe f2llmv2 gemma4
    glm5 granite-embed-multi-311m granite-embed-multi-97m hy_v4 jais-2 jina-v5-nano joyai-llm
    kanana2 laguna mellum2 minicpm5 modern-bert qwen35 sarvam-moe solar-open spark2_5 talkie
    tiny_aya ufakzeka whitespace youtu
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
    known = _look_up(file, found, ignore_merges=ignore_merges)
    if known is not None:
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


def _look_up(file: dict[str, Any], found: tuple[str, ...], *, ignore_merges: bool) -> _Known | None:
    """Return the row of a structure; None where the runtime has no such cut.

    A name implies in the runtime whether a word that is a token stays whole, merges or not. Where
    the merges make every token anyway, as in every vocabulary that was trained or taken from
    tiktoken, that makes no difference, and the name of either kind does.
    """
    rows = [known for known in _TABLE if known.steps == found]
    own = next((known for known in rows if known.ignore_merges == ignore_merges), None)
    other = next((known for known in rows if known.ignore_merges != ignore_merges), None)
    if own is not None and not (own.newest and other):
        return own
    return other if other is not None and merges_suffice(file) else own


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
    found = [_canonical(rule) for rule in flatten(rules)]
    if found[-2:] == [f"Split {GPT2}", _BYTES]:
        found[-2:] = [_BYTES_SPLITTING]
    yield from found


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
        case {"type": "ByteLevel", "add_prefix_space": False}:
            # use_regex is on where it is not said
            return _BYTES if rule.get("use_regex") is False else _BYTES_SPLITTING
        case {"type": "Digits", "individual_digits": bool(each)}:
            return _DIGITS if each else _NUMBERS
        case {"type": "Punctuation", "behavior": str(behavior)}:
            return _PUNCTUATIONS.get(behavior, str(rule))
        case {
            "type": "Split",
            "pattern": {"Regex": str(pattern)},
            "behavior": str(behavior),
            "invert": bool(inverted),
        } if (behavior, inverted) in _KEEPING:
            return _split(pattern)
    return str(rule)


def _split(pattern: str) -> str:
    """Return a cut by an expression; one that a rule of another name makes has that name."""
    return _NUMBER_CUTS.get(pattern, f"Split {plain(pattern)}")


_NUMBER_CUTS = {r"\p{N}": _DIGITS, r"\p{N}+": _NUMBERS}
