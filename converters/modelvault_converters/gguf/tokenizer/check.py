"""Compare token ids: what the runtime makes of a text must be what the model was trained with.

A tokenizer that is read wrong gives a model that loads, answers, and answers badly. So the
vocabulary, as the file will hold it, is given to llama.cpp before a weight is written, and its
ids for texts in many scripts are compared with those of the library that the publisher's files
are made for: tokenizers for ``tokenizer.json``, sentencepiece for ``tokenizer.model``. Then each
added token is asked for, see ``added``.
"""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modelvault.errors import MalformedRecord, UnsupportedTokenizer
from modelvault_converters.checkpoint import Checkpoint
from modelvault_converters.gguf.container import lay_out
from modelvault_converters.gguf.tensors import Entry
from modelvault_converters.gguf.tokenizer import Tokenizer
from modelvault_converters.gguf.tokenizer.added import mixed_text, stated_tokens

TEXTS = (
    "The quick brown fox, born in 1987, doesn't owe them $3.50 -- and they'll say so!",
    "안녕하세요. 모델을 옮기기 전에 모든 파일을 확인합니다! 서울에서 부산까지 2시간 40분, 8,500원.",
    "吾輩は猫である。名前はまだ無い。我能吞下玻璃而不伤身体。",
    "Съешь же ещё этих мягких французских булок. Où est l'hôtel? Größe, señor, naïve.",
    "صباح الخير يا عالم. नमस्ते दुनिया। สวัสดีชาวโลก שלום עולם",
    "def area(r: float) -> float:\n\treturn 3.14159 * r ** 2  # m\u00b2\n\n\n    if x_1 != y2:\n",
    "two  spaces, tabs\t\tand a line\r\nend 🙂🚀 12345678 camelCase HTTPServer",
)
"""What is compared: scripts, digits, white space, code.

None begins with a space: there tokenizers and sentencepiece themselves disagree about one more.
"""

# A second ``normalizer_spec`` behind a model's own is merged into it: ``add_dummy_prefix`` is said
# last by tokenizer_config.json, or by the tokenizer's class.
_PREFIX, _NO_PREFIX = b"\x1a\x02\x18\x01", b"\x1a\x02\x18\x00"

_COMPARE = (
    "the tokenizer's files contradict each other, or are of another model: compare them with its "
    "publisher's"
)
_PACKAGE = "xllamacpp"
_PROGRAM = Path(__file__).with_name("runtime.py")
_PATIENCE = 600
"""Seconds; a vocabulary of a quarter million tokens takes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What came of a comparison."""

    reference: str = ""
    """Library whose ids the runtime gave, with its version; empty where nothing was compared."""
    warnings: tuple[str, ...] = ()


def compare_ids(source: Checkpoint, tokenizer: Tokenizer, entries: Sequence[Entry]) -> Comparison:
    """Compare the runtime's token ids with those of the publisher's files.

    Where the tokenizer is known to differ in some way, which its warnings say, or was named by
    option, a difference is one more warning; otherwise it is an error.

    Args:
        source: The model.
        tokenizer: Its tokenizer as it was read.
        entries: All metadata of the file to be.

    Raises:
        UnsupportedTokenizer: The runtime refuses the vocabulary, or gives other ids.
        MalformedRecord: ``tokenizer.json`` is not UTF-8.
    """
    library = _find_library()
    if library is None:
        return _skipped(f"{_PACKAGE} is not installed")
    try:
        return _compare(source, tokenizer, entries, library)
    except _NotCompared as error:
        return _skipped(str(error))


class _NotCompared(Exception):
    """Nothing can be compared; says why."""


def _compare(
    source: Checkpoint, tokenizer: Tokenizer, entries: Sequence[Entry], library: str
) -> Comparison:
    added = stated_tokens(source, tokenizer)
    mixed = mixed_text(tokenizer)
    texts = (*TEXTS, mixed) if mixed else TEXTS
    expected = _reference(source, tokenizer, texts)
    answer = _ask(library, entries, texts, tuple(added))
    if "unfit" in answer:
        raise _NotCompared(f"{_PACKAGE} {version(_PACKAGE)}: {answer['unfit']}")
    _check_added(added, answer["special"])
    if expected is None:
        raise _NotCompared("no library reads these files: the model has no tokenizer.json")
    name, ids = expected
    for text, one, other in zip(texts, ids, answer["ids"], strict=True):
        if one != other:
            return _differs(tokenizer, name, text, one, other)
    return Comparison(reference=name)


def _check_added(added: Mapping[str, int], answers: Sequence[list[int]]) -> None:
    """Refuse a file in which an added token is not itself.

    Neither a normalizer nor another pre-tokenizer explains such a difference.
    """
    for (text, number), found in zip(added.items(), answers, strict=True):
        if found != [number]:
            raise UnsupportedTokenizer(
                f"llama.cpp does not know the added token {text!r:.60} by its id: it gives "
                f"{found[:4]} and not [{number}]",
                hint="the tokenizer's files contradict each other: leave out those that are not "
                "the model's own",
            )


def _skipped(why: str) -> Comparison:
    warning = f"token ids were not compared with llama.cpp's: {why:.200}"
    return Comparison(warnings=(warning,))


def _differs(
    tokenizer: Tokenizer, name: str, text: str, expected: list[int], found: list[int]
) -> Comparison:
    """Return or raise what is to be said of the first difference."""
    at = next(
        (at for at, pair in enumerate(zip(expected, found)) if pair[0] != pair[1]),
        min(len(expected), len(found)),
    )
    message = (
        f"llama.cpp gives other token ids than {name}: for {text:.60}… token {at} is "
        f"{found[at : at + 3]} and not {expected[at : at + 3]}"
    )
    if tokenizer.vocabulary.warnings:
        return Comparison(warnings=(message,))
    by_hand = "--pre-tokenizer names a pre-tokenizer by hand; "
    raise UnsupportedTokenizer(
        message,
        hint=(by_hand if tokenizer.vocabulary.model == "gpt2" else "")
        + "a publisher's own GGUF can be pulled instead",
    )


def _reference(
    source: Checkpoint, tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[str, list[list[int]]] | None:
    """Return a library with its version, and its ids; None where no library reads the files.

    Raises:
        _NotCompared: The library is not installed.
    """
    try:
        return _by_library(source, tokenizer, texts)
    except ImportError as error:
        raise _NotCompared(str(error)) from error


def _by_library(
    source: Checkpoint, tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[str, list[list[int]]] | None:
    if tokenizer.vocabulary.model == "llama" and source.has("tokenizer.model"):
        return _by_sentencepiece(source.read("tokenizer.model"), tokenizer, texts)
    if source.has("tokenizer.json"):
        try:
            return _by_tokenizers(source.read("tokenizer.json").decode(), texts)
        except UnicodeDecodeError as error:
            raise MalformedRecord("tokenizer.json is not UTF-8 text") from error
    return _by_tokenizers(json.dumps(tokenizer.file), texts) if tokenizer.file else None


def _by_tokenizers(file: str, texts: Sequence[str]) -> tuple[str, list[list[int]]]:
    from tokenizers import Tokenizer as Library

    try:
        library = Library.from_str(file)
        library.no_truncation()
        library.no_padding()
        ids = [library.encode(text, add_special_tokens=False).ids for text in texts]
    except Exception as error:  # the library raises nothing narrower
        raise UnsupportedTokenizer(
            f"the tokenizers library does not read tokenizer.json: {error}",
            hint=_COMPARE,
        ) from error
    return f"tokenizers {version('tokenizers')}", ids


def _by_sentencepiece(
    data: bytes, tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[str, list[list[int]]]:
    import sentencepiece

    prefix = _NO_PREFIX if tokenizer.vocabulary.space_prefix is False else _PREFIX
    try:
        library = sentencepiece.SentencePieceProcessor(model_proto=data + prefix)
        ids = [[int(number) for number in library.encode(text)] for text in texts]
    except RuntimeError as error:
        raise UnsupportedTokenizer(
            f"the sentencepiece library does not read tokenizer.model: {error}",
            hint=_COMPARE,
        ) from error
    return f"sentencepiece {version('sentencepiece')}", ids


def _find_library() -> str | None:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        return None
    libraries = sorted(Path(found.origin).parent.glob(f"{_PACKAGE}*.so"))
    return str(libraries[0]) if len(libraries) == 1 else None


def _ask(
    library: str, entries: Sequence[Entry], texts: Sequence[str], special: Sequence[str]
) -> dict[str, Any]:
    """Return the runtime's answer to a file that holds the metadata and no tensor."""
    descriptor = os.memfd_create("vocabulary")
    with open(descriptor, "wb") as file:
        file.write(lay_out(entries, (), ()).head)
        file.flush()
        request = {
            "library": library,
            "vocabulary": f"/proc/self/fd/{descriptor}",
            "texts": texts,
            "special": special,
        }
        try:
            done = subprocess.run(
                [sys.executable, "-I", str(_PROGRAM)],
                input=json.dumps(request).encode(),
                capture_output=True,
                pass_fds=(descriptor,),
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _refused(f"no answer within {_PATIENCE} seconds") from error
    if done.returncode != 0:
        raise _refused(_last_words(done.stderr) or f"status {done.returncode}")
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        raise _refused("its answer is not one") from error
    if "refused" in answer:
        raise _refused(_last_words(done.stderr) or answer["refused"])
    return answer


def _refused(why: str) -> UnsupportedTokenizer:
    return UnsupportedTokenizer(
        f"llama.cpp does not accept the vocabulary: {why:.300}",
        hint=_COMPARE,
    )


def _last_words(output: bytes) -> str:
    """Return the lines in which the runtime says what went wrong."""
    lines = output.decode("utf-8", "replace").splitlines()
    return " ".join(_complaints(lines))


def _complaints(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if "error" in line.lower() or "assert" in line.lower():
            yield line.strip()
