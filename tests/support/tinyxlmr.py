"""Tiny XLM-RoBERTa encoders with a trained Unigram tokenizer, as multilingual embedders are."""

import base64
import io
import json
from pathlib import Path
from typing import Any

from tests.support.tinybert import write_pooling
from tests.support.tinymodel import training_text

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")


def make_tiny_xlmr(folder: Path, *, labels: int = 0) -> None:
    """Write a complete tiny encoder, deterministic for its arguments.

    Args:
        folder: Created when missing.
        labels: Outputs of a classifier at its end, as in BGE's rerankers; 0 for an embedder that
            pools by its first token, as BGE-M3 does.
    """
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    rows = write_unigram(folder)
    torch.manual_seed(3)
    config = transformers.XLMRobertaConfig(
        vocab_size=rows,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=258,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    if labels:
        config.num_labels = labels
    kind = "XLMRobertaForSequenceClassification" if labels else "XLMRobertaModel"
    model = getattr(transformers, kind)(config)
    for name, parameter in model.named_parameters():
        if "LayerNorm" not in name:
            torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    if not labels:
        write_pooling(folder, "cls_token")


def write_unigram(folder: Path) -> int:
    """Train a Unigram model and write it as XLM-RoBERTa's files; return its tokens."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_text()),
        model_writer=written,
        model_type="unigram",
        vocab_size=700,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "sentencepiece.bpe.model").write_bytes(written.getvalue())
    messages: Any = sentencepiece_model_pb2  # its classes are made when it is imported
    proto = messages.ModelProto.FromString(written.getvalue())
    table = proto.normalizer_spec.precompiled_charsmap
    pieces = [(text, 0.0) for text in SPECIALS]
    pieces += [(piece.piece, piece.score) for piece in proto.pieces[3:]]
    pieces.append(("<mask>", 0.0))
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.Precompiled(table)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )  # fmt: skip
    tokenizer.add_special_tokens([*SPECIALS, "<mask>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert table
    assert base64.b64encode(table).decode() in (folder / "tokenizer.json").read_text()
    return len(pieces)
