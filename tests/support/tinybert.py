"""Tiny BERT encoders with a trained WordPiece tokenizer, as sentence-transformers saves them."""

import json
from pathlib import Path
from typing import Any, Literal

from tests.support.tinymodel import training_text

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = 600

Pooling = Literal["mean_tokens", "cls_token", "lasttoken", "max_tokens"]


def make_tiny_bert(
    folder: Path,
    *,
    pooling: Pooling = "mean_tokens",
    lowercase: bool = True,
    classifies: bool = False,
    **changes: Any,
) -> None:
    """Write a complete tiny encoder, deterministic for its arguments.

    Args:
        folder: Created when missing.
        pooling: The rule of ``1_Pooling``.
        lowercase: Whether the tokenizer lowers case and strips accents, or neither.
        classifies: Whether it ends with a classifier instead of a pooling.
        changes: Settings of ``BertConfig`` to change.
    """
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    write_wordpiece(folder, lowercase=lowercase)
    torch.manual_seed(1)
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "max_position_embeddings": 256,
        "type_vocab_size": 2,
    }
    kind = "BertForSequenceClassification" if classifies else "BertModel"
    model = getattr(transformers, kind)(transformers.BertConfig(**(settings | changes)))
    for name, parameter in model.named_parameters():
        if "LayerNorm" not in name:
            torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    if not classifies:
        write_pooling(folder, pooling)


def write_wordpiece(folder: Path, *, lowercase: bool) -> None:
    """Train a WordPiece tokenizer and write its files."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY - 20, special_tokens=list(SPECIALS), show_progress=False
    )
    tokenizer.train_from_iterator(training_text(), trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {f"{token[1:-1].lower()}_token": token for token in SPECIALS}
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": lowercase, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_pooling(folder: Path, pooling: Pooling) -> None:
    """Write the files of sentence-transformers that say how to pool."""
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": index, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(paths.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    names = ("cls_token", "mean_tokens", "max_tokens", "lasttoken")
    values = {f"pooling_mode_{name}": name == pooling for name in names}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(values))
