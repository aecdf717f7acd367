"""The expressions by which byte-level tokenizers cut a text, as their publishers write them.

They are here in one spelling of several that mean the same, see ``plain``. The runtime's own often
differs, since it knows no possessive repetition and no flags inside an expression; that both cut
alike is what ``tests/gguf/test_pretokenizer.py`` compares.

Source:
    ``tokenizer.json`` of the models that are named on the Hub; llama.cpp ``src/llama-vocab.cpp``
    (``llm_tokenizer_bpe``).
"""

_ENGLISH = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_TAIL = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_CASED_TAIL = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
_CASED = rf"{_LEAD}{_UPPER}*{_LOWER}+{_ENGLISH}?|{_LEAD}{_UPPER}+{_LOWER}*{_ENGLISH}?"

LLAMA3 = rf"{_ENGLISH}|{_LEAD}\p{{L}}+|\p{{N}}{{1,3}}|{_TAIL}"
QWEN2 = rf"{_ENGLISH}|{_LEAD}\p{{L}}+|\p{{N}}|{_TAIL}"
QWEN35 = (
    rf"{_ENGLISH}|{_LEAD}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)
"""Qwen 3.5: marks belong to words."""
TEKKEN = rf"{_LEAD}{_UPPER}*{_LOWER}+|{_LEAD}{_UPPER}+{_LOWER}*|\p{{N}}|{_CASED_TAIL}"
GPT4O = rf"{_CASED}|\p{{N}}{{1,3}}|{_CASED_TAIL}"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What a byte-level step cuts by where no expression is said."""
JAIS2 = (
    rf"{_ENGLISH}|{_LEAD}\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+"
    r"|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)"
    r"|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"
)
EXAONE_MOE = (
    rf"{_ENGLISH}|{_LEAD}(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""K-EXAONE: words that a space parts may be one."""
SEED_CODER = rf"{_ENGLISH}|{_LEAD}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}"
UFAKZEKA = rf"{_LEAD}\p{{L}}+|\p{{N}}|{_TAIL}"
"""As Qwen's, without English endings: a Turkish ending stays with its apostrophe."""
MINICPM5 = rf"{_ENGLISH}|{_LEAD}\p{{L}}+|\p{{N}}+|{_TAIL}"
YOUTU_SCRIPTS = (
    "[\uac00-\ud7a3\u3131-\u318e]+|"
    "[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+|"
    "[\u3105-\u312f]+|"
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
)
"""Korean, punctuation, Bopomofo, Chinese and Japanese."""
YOUTU = rf"{_CASED}|\p{{N}}|{_CASED_TAIL}"
THREE_DIGITS = r"\p{N}{1,3}"
THREE_FROM_THE_END = r"\d{1,3}(?=(?:\d{3})*\b)"
GROUPS_FROM_THE_END = r"\d{1,3}(?=(?:\d{3})*(?!\d))"
LINES = r"[^\n]+|[\n]+"
BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"  # noqa: RUF001
BLOOM_NESTED = r" ?[^(\s|[.,!?…。，、।۔،])]+"  # noqa: RUF001
"""The same set, written with brackets inside."""
CHAMELEON = (
    r"<sentinel:[0-9]+>",
    r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
    r"([\t\n]|    |  )",
)
ASIAN = (
    "[\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00"
    "-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"
)
"""Scripts that Trinity takes apart from others."""
SUPER_GROUPS = r"(?=(\d{3})+(?!\d))"

_SAME = (
    ("\r", r"\r"),
    ("\n", r"\n"),
    (r"'(?i:[sdmt]|ll|ve|re)", _ENGLISH),
    ("(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", _ENGLISH),
    ("?+", "?"),
    ("++", "+"),
    (r"|\s*[\r\n]|", r"|\s*[\r\n]+|"),
    (r"\p{N}{1}|", r"\p{N}|"),
)
"""What means the same in these expressions: what a lead or a run of signs takes can never be given
back to what follows it, and white space is taken up to its last line end either way."""


def plain(expression: str) -> str:
    """Return an expression in one of the spellings that mean the same."""
    for one, other in _SAME:
        expression = expression.replace(one, other)
    return expression
