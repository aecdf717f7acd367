"""Small models of many families that have read real text: the standard library's source.

Larger than the tests' models, and never shown a text twice, so that text set aside is text
they do not know. What they learnt is deterministic for a seed on one machine.
"""

import json
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import torch

from tests.support.trainedmodel import Family, name_experts, raise_outliers

LENGTH = 128
"""Tokens a sequence, in training and after."""
_BATCH = 8
_VOCABULARY = 1024
_BEGIN, _END = "<|begin|>", "<|end|>"
_OUTLIERS = (3, 40, 77, 101)
"""Channels whose activations become large."""
_RATE = 4e-3

_HEAD = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large models are, and what is done to them."""

    width: int = 128
    layers: int = 2
    raised: bool = True
    """Whether some channels are given large activations, as large models have by themselves."""

    @property
    def name(self) -> str:
        """A word for it."""
        return f"{self.width}x{self.layers}{'' if self.raised else '-even'}"

    def configure(self, family: Family) -> dict[str, Any]:
        """Return the configuration of a family's model."""
        heads = self.width // _HEAD
        base = {
            "vocab_size": _VOCABULARY,
            "hidden_size": self.width,
            "intermediate_size": 2 * self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "head_dim": _HEAD,
            "max_position_embeddings": 512,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
            "tie_word_embeddings": False,
        }
        experts = {"moe_intermediate_size": 2 * self.width} if family == "qwen3_moe" else {}
        return {**base, **_OF_FAMILY[family], **experts}


_OF_FAMILY: dict[Family, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {},
    "gemma2": {"tie_word_embeddings": True, "query_pre_attn_scalar": _HEAD},
    "phi3": {},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True},
}
FAMILIES = tuple(_OF_FAMILY)


def read_texts() -> list[str]:
    """Return the sources of the standard library, in a fixed order without system."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = [
        path
        for path in sorted(folder.rglob("*.py"))
        if not {"site-packages", "test", "tests", "idle_test", "encodings"} & set(path.parts)
    ]
    paths.sort(key=lambda path: (crc32(path.relative_to(folder).as_posix().encode()), path))
    return [path.read_text(encoding="utf-8", errors="replace") for path in paths]


def write_tokenizer(folder: Path, texts: list[str]) -> None:
    """Train a byte-level vocabulary on some texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_BEGIN, _END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": _BEGIN,
        "eos_token": _END,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def encode(folder: Path, texts: list[str], each: int) -> torch.Tensor:
    """Return the first tokens of every text, ``each`` at most, one after the other, ``[count]``."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found: list[int] = []
    for text in texts:
        found += tokenizer.encode(text).ids[:each]
    return torch.tensor(found)


def train(folder: Path, family: Family, shape: Shape, tokens: torch.Tensor, seed: int) -> None:
    """Write a trained checkpoint in bf16 beside the tokenizer in ``folder``.

    Args:
        folder: Holds the tokenizer.
        family: Kind of model, as transformers names it.
        shape: How large it is.
        tokens: What it reads, once.
        seed: Of the first weights and the order of the text.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, logging

    logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = AutoConfig.for_model(family, **shape.configure(family))
        model: Any = AutoModelForCausalLM.from_config(config)
        sequences = tokens[: len(tokens) // LENGTH * LENGTH].view(-1, LENGTH)
        batches = sequences[torch.randperm(len(sequences))].split(_BATCH)
        optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
        plan = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, _RATE, total_steps=len(batches), pct_start=0.1
        )
        for batch in batches:
            loss = model(batch, labels=batch).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            plan.step()
    if shape.raised:
        raise_outliers(model, _OUTLIERS)
    model.to(torch.bfloat16).save_pretrained(folder)
    name_experts(folder / "config.json", family)
