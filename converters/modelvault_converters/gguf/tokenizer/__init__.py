"""Tokenizers: read a model's files, decide what the runtime must be told.

Four kinds are known. A byte-level BPE (``tokenizer.json``, or ``vocab.json`` with ``merges.txt``)
names its pre-tokenizer, decided by structure; a SentencePiece BPE comes from ``tokenizer.model``,
or from a ``tokenizer.json`` that was made of one; a WordPiece comes from ``tokenizer.json`` or
``vocab.txt``, a Unigram from ``tokenizer.json`` or ``sentencepiece.bpe.model``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelvault.errors import BadOption, SourceIncomplete
from modelvault_converters.checkpoint import Checkpoint
from modelvault_converters.gguf.tensors import Entry, Kind, Value
from modelvault_converters.gguf.tokenizer import bpe, separate, spm, unigram, wordpiece
from modelvault_converters.gguf.tokenizer.special import SpecialTokens
from modelvault_converters.gguf.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """A vocabulary with its special tokens."""

    vocabulary: Vocabulary
    special: SpecialTokens
    file: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    """``tokenizer.json``, or what it would hold; empty where there is neither."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know."""
        return self.vocabulary.warnings + self.special.warnings

    def entries(self) -> Iterator[Entry]:
        """Yield the tokenizer's metadata keys, in file order."""
        vocabulary = self.vocabulary
        yield _entry("model", "string", vocabulary.model)
        yield _entry("pre", "string", vocabulary.pre)
        if vocabulary.space_prefix is not None:
            yield _entry("add_space_prefix", "bool", vocabulary.space_prefix)
        if vocabulary.model == "t5":
            yield _entry("remove_extra_whitespaces", "bool", True)
        if vocabulary.characters:
            yield _entry("precompiled_charsmap", "u8s", vocabulary.characters)
        for name, value in vocabulary.normalizer.items():
            yield _entry(f"normalizer.{name}", "bool", value)
        yield _entry("tokens", "strings", vocabulary.tokens)
        if vocabulary.scores:
            yield _entry("scores", "f32s", vocabulary.scores)
        yield _entry("token_type", "i32s", vocabulary.types)
        if vocabulary.merges:
            yield _entry("merges", "strings", vocabulary.merges)
        for name, number in self.special.ids.items():
            yield _entry(f"{name}_token_id", "u32", number)
        for name, value in self.special.added.items():
            yield _entry(f"add_{name}_token", "bool", value)
        yield from self.special.template_entries()


def read_tokenizer(
    source: Checkpoint,
    config: dict[str, Any],
    *,
    architecture: str,
    rows: int,
    special: Mapping[str, str | int],
    pre_tokenizer: str = "",
) -> Tokenizer:
    """Return the model's tokenizer, padded to the rows of the embedding.

    Args:
        source: The model.
        config: Its ``config.json``.
        architecture: ``general.architecture``.
        rows: Rows of the embedding.
        special: Special tokens that the family knows: GGUF's role → text or id.
        pre_tokenizer: Name that overrides what the structure says; empty for none.

    Raises:
        UnsupportedTokenizer: It cannot be expressed; the hint says what can be done.
        SourceIncomplete: Its files are missing.
        MalformedRecord: A file of it does not parse.
        BadOption: The overriding name is unknown, or there is nothing to override.
    """
    settings = source.optional_object("tokenizer_config.json")
    file = source.optional_object("tokenizer.json")
    if not file and not source.has(spm.FILE):
        file = separate.assemble(source, settings, config)
    vocabulary = _read_vocabulary(source, file, settings, architecture, pre_tokenizer).padded(rows)
    read = SpecialTokens.read(source, vocabulary, file, settings, config, known=special)
    return Tokenizer(vocabulary=vocabulary, special=read, file=file)


def _read_vocabulary(
    source: Checkpoint,
    file: dict[str, Any],
    settings: dict[str, Any],
    architecture: str,
    pre_tokenizer: str,
) -> Vocabulary:
    if file and bpe.is_byte_level(file):
        return bpe.read_vocabulary(
            file, settings, pre_tokenizer=pre_tokenizer, architecture=architecture
        )
    if pre_tokenizer:
        raise BadOption("--pre-tokenizer: only a byte-level tokenizer.json has one to name")
    if file and wordpiece.is_wordpiece(file):
        return wordpiece.read_vocabulary(file)
    if file and unigram.is_unigram(file):
        return unigram.read_vocabulary(file)
    if source.has("tokenizer.model"):
        listed = source.optional_object("added_tokens.json")
        added = spm.read_added(settings, listed, file, literal=architecture == "phi3")
        return spm.read_vocabulary(source.read("tokenizer.model"), added, settings, file)
    if file:
        return spm.read_json_vocabulary(file, settings)
    return _read_older(source, settings)


def _read_older(source: Checkpoint, settings: dict[str, Any]) -> Vocabulary:
    """Return the vocabulary of an encoder from before ``tokenizer.json``."""
    if source.has(unigram.FILE):
        return unigram.read_model(source.read(unigram.FILE))
    if source.has("vocab.txt"):
        return wordpiece.read_text(source.read("vocab.txt"), settings)
    raise SourceIncomplete(
        "the model has neither tokenizer.json nor tokenizer.model",
        hint="if a pattern of the pull left them out, pull the model again without it; otherwise "
        "add those of the model that this one was made from",
    )


def _entry(key: str, kind: Kind, value: Value) -> Entry:
    return Entry(key=f"tokenizer.ggml.{key}", kind=kind, value=value)
