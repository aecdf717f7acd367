"""Tiny but complete Llama checkpoints, as the Hub would serve them.

Everything is real: a tokenizer trained on a small multilingual text, bfloat16 safetensors
in as many shards as asked for, configuration, chat template, model card and licence.
transformers loads the folder, and the same arguments always give the same bytes.

Example:
    >>> make_tiny_llama(Path("/tmp/tiny"), kind="spm", shards=2)
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["bpe", "spm"]

HEAD = 64
"""Width of an attention head; ``hidden`` is a multiple of it."""

VOCABULARY = 1024
"""Tokens of the trained vocabularies."""

BPE_SPECIALS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Llama 3 cuts a text before merging, as its tokenizer.json spells it."""

BPE_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + "
    "'<|end_header_id|>\n\n' + m['content'] + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
SPM_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}"
)

MIXED_SCRIPT = (
    "The vault is sealed at 23:59:07. 금고는 봉인되었고, 아무도 들어갈 수 없습니다! "
    "金庫は封印された。 保险库已密封。 Хранилище закрыто; ¡no pasarán!  naïve café\n\n"
    "def unlock(key: str) -> bool:\n\treturn key == 'x' * 128  # 열쇠\n\n\n"
    "I'll we've 1234567 ½ ﷺ 🔐👩‍💻 \u00a0\u3000 end\t\t ."
)
"""A text that meets every script and kind of white space a tokenizer may stumble over."""

_SENTENCES = (
    "The old lighthouse keeper counted the ships before the storm came in.",
    "Nobody carries a letter across the border without showing it twice.",
    "When the river rises, the whole village moves its goods to the upper floor.",
    "She wrote down every number, checked the sum, and signed the page.",
    "Water boils sooner on the mountain, but the tea is never as strong.",
    "I'll be there at 9:30, and they've promised we won't wait until 2027.",
    "바람이 세게 불어서 배가 항구로 돌아왔다.",
    "그 사람은 매일 아침 편지를 쓰고 우체국에 갑니다.",
    "금고의 열쇠는 두 사람이 나누어 가지고 있습니다.",
    "서울에서 부산까지 기차로 세 시간이 걸려요. 도시락은 8,500원입니다.",
    "모델을 옮기기 전에 모든 파일을 확인하고 서명해야 합니다.",
    "風が強くなったので、船は港に戻った。",
    "毎朝、手紙を書いて郵便局へ行きます。",
    "河水上涨的时候,全村人把东西搬到楼上。",
    "请在出发之前检查每一个文件。",
    "Сторож маяка считал корабли перед бурей.",
    "Каждый файл нужно проверить дважды.",
    "El guardián del faro contó los barcos antes de la tormenta.",
    "Wer über die Brücke fährt, zahlt den Zoll zweimal: für sich und für die Größe.",
    "كتب الرسالة كل صباح وذهب إلى المدينة.",
    "दो लोगों के पास चाबी है।",
    "def total(prices: list[float]) -> float:\n    return sum(price * 1.19 for price in prices)\n",
    "for (int i = 0; i < count; i++) {\n\tbuffer[i] = (char)(i & 0xff);\n}\n",
    'SELECT name, size FROM blobs WHERE size > 1024 ORDER BY name;\n{"key": [1, 2, 3]}',
    "    if not path.exists():\n        raise FileNotFoundError(path)\n\n",
    "https://example.org/a/b?c=1&d=2 -- 100% done (see #42) ... <tag> x += 3.14e-2",
    "🙂 🔐 🚢 → ← ✓ © € £ 1½",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    rows: int


def make_tiny_llama(
    folder: Path,
    *,
    kind: Kind = "bpe",
    seed: int = 0,
    hidden: int = 256,
    layers: int = 2,
    shards: int = 1,
    intermediate: int = 512,
    vocabulary_rows: int | None = None,
    tied: bool = False,
) -> None:
    """Write a complete tiny Llama checkpoint, deterministic for its arguments.

    Args:
        folder: Created when missing; files of the same names are replaced.
        kind: ``bpe`` for a Llama 3 style byte-level BPE with llama3 rope scaling, ``spm``
            for a Llama 2 style SentencePiece model.
        seed: Of the weights; the tokenizer is the same for all seeds.
        hidden: Width of the model, a multiple of 64; a head is 64 wide, and two query
            heads share one key head where their number is even.
        layers: Number of blocks.
        shards: Number of weight files; more than one come with an index.
        intermediate: Width of the feed-forward layer.
        vocabulary_rows: Rows of the embedding; by default as many as there are tokens.
            Many of them are the easy way to a large file (``[rows, hidden]`` in bf16).
        tied: Let the output share the embedding's weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokens = _write_bpe(folder) if kind == "bpe" else _write_spm(folder)
    heads = hidden // HEAD
    shape = _Shape(
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=heads // 2 if heads % 2 == 0 else heads,
        intermediate=intermediate,
        rows=max(tokens, vocabulary_rows or 0),
    )
    _write_json(folder / "config.json", _config(kind, shape, tied=tied))
    _write_json(folder / "generation_config.json", _ids(kind) | {"do_sample": False})
    _write_weights(folder, shape, seed=seed, shards=shards, tied=tied)
    (folder / "README.md").write_text(_CARD.format(kind=kind), encoding="utf-8")
    (folder / "LICENSE").write_text(_LICENSE, encoding="utf-8")


def training_text() -> Iterator[str]:
    """Yield the sentences the tokenizers are trained on, each many times over."""
    for number in range(12):
        for sentence in _SENTENCES:
            yield sentence if number % 3 else f"{number}. {sentence}  "


def _write_bpe(folder: Path) -> int:
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        processors,
        trainers,
    )

    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(BPE_SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_text(), trainer)
    tokenizer.add_special_tokens(list(BPE_SPECIALS))
    begin = BPE_SPECIALS[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A",
        pair=f"{begin} $A {begin} $B",
        special_tokens=[(begin, tokenizer.token_to_id(begin))],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BPE_SPECIALS[0],
            "eos_token": BPE_SPECIALS[4],
            "pad_token": BPE_SPECIALS[1],
            "chat_template": BPE_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "model_max_length": 8192,
            "added_tokens_decoder": {
                str(tokenizer.token_to_id(text)): {"content": text, "special": True}
                for text in BPE_SPECIALS
            },
        },
    )
    return int(tokenizer.get_vocab_size())


def _write_spm(folder: Path) -> int:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=training_text(),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCABULARY,
        character_coverage=0.99,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        num_threads=1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "LlamaTokenizer",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "add_bos_token": True,
            "add_eos_token": False,
            "legacy": True,
            "chat_template": SPM_TEMPLATE,
            "added_tokens_decoder": {
                str(number): {"content": text, "special": True}
                for number, text in enumerate(("<unk>", "<s>", "</s>"))
            },
        },
    )
    return VOCABULARY


def _ids(kind: Kind) -> dict[str, int]:
    if kind == "spm":
        return {"bos_token_id": 1, "eos_token_id": 2}
    first = VOCABULARY - len(BPE_SPECIALS)
    return {"bos_token_id": first, "eos_token_id": first + 4, "pad_token_id": first + 1}


def _config(kind: Kind, shape: _Shape, *, tied: bool) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
    if kind == "bpe":
        rope = {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 1024,
        }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": shape.rows,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": HEAD,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "max_position_embeddings": 8192 if kind == "bpe" else 4096,
        "rms_norm_eps": 1e-5,
        "rope_parameters": rope,
        "tie_word_embeddings": tied,
        "use_cache": True,
        **_ids(kind),
    }


def _tensors(shape: _Shape, *, tied: bool) -> dict[str, tuple[int, ...]]:
    """Return name → shape, rows first, in the order of the files."""
    hidden, width = shape.hidden, shape.kv_heads * HEAD
    result: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (shape.rows, hidden)}
    for layer in range(shape.layers):
        at = f"model.layers.{layer}."
        result[at + "input_layernorm.weight"] = (hidden,)
        result[at + "self_attn.q_proj.weight"] = (shape.heads * HEAD, hidden)
        result[at + "self_attn.k_proj.weight"] = (width, hidden)
        result[at + "self_attn.v_proj.weight"] = (width, hidden)
        result[at + "self_attn.o_proj.weight"] = (hidden, shape.heads * HEAD)
        result[at + "post_attention_layernorm.weight"] = (hidden,)
        result[at + "mlp.gate_proj.weight"] = (shape.intermediate, hidden)
        result[at + "mlp.up_proj.weight"] = (shape.intermediate, hidden)
        result[at + "mlp.down_proj.weight"] = (hidden, shape.intermediate)
    result["model.norm.weight"] = (hidden,)
    if not tied:
        result["lm_head.weight"] = (shape.rows, hidden)
    return result


def _write_weights(folder: Path, shape: _Shape, *, seed: int, shards: int, tied: bool) -> None:
    tensors = _tensors(shape, tied=tied)
    names = list(tensors)
    cuts = [len(names) * number // shards for number in range(shards + 1)]
    places: dict[str, str] = {}
    for number in range(shards):
        chosen = {name: tensors[name] for name in names[cuts[number] : cuts[number + 1]]}
        file = "model.safetensors"
        if shards > 1:
            file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        _write_shard(folder / file, chosen, seed=seed)
        places.update(dict.fromkeys(chosen, file))
    if shards > 1:
        total = sum(2 * int(np.prod(rows)) for rows in tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": places}
        _write_json(folder / "model.safetensors.index.json", index)


def _write_shard(path: Path, tensors: dict[str, tuple[int, ...]], *, seed: int) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in tensors.items():
        end = offset + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors.items():
            # A generator of its own for every tensor: sharding does not change the weights.
            random = np.random.default_rng([seed, *name.encode()])
            for start in range(0, shape[0], 8192):
                rows = min(8192, shape[0] - start)
                file.write(_weights(random, name, (rows, *shape[1:])).tobytes())


def _weights(
    random: np.random.Generator, name: str, shape: tuple[int, ...]
) -> npt.NDArray[np.uint16]:
    """Return bfloat16 bits, scaled so that attention and logits are far from uniform."""
    values = random.standard_normal(shape, dtype=np.float32)
    if len(shape) == 1:
        values = np.float32(1) + values / np.float32(8)
    elif "embed_tokens" not in name:
        strength = 1.5 if "q_proj" in name or "k_proj" in name else 1.0
        values *= np.float32(strength / np.sqrt(shape[1]))
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


_CARD = """---
license: mit
language:
- en
- ko
pipeline_tag: text-generation
library_name: transformers
tags:
- test
---
# Tiny Llama ({kind})

Random weights around a small trained tokenizer. It says nothing of sense; it exists so that
tools can be tested on something complete.
"""

_LICENSE = """MIT License

Permission is hereby granted, free of charge, to any person obtaining a copy of this software
and associated documentation files (the "Software"), to deal in the Software without
restriction, including without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING
BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
