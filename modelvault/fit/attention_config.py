"""Which layers of a ``config.json`` attend, how far back, and what they cache."""

from modelvault.fit.reading import Keys
from modelvault.fit.shape import LARGEST_CONTEXT, LARGEST_WIDTH, MOST_LAYERS, Attention

_LOCAL = ("sliding_attention", "chunked_attention", "sliding", "local")
_GLOBAL = ("full_attention", "attention", "full", "global", "hybrid")
_PERIODS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "exaone4": 4, "olmo3": 4,
            "gpt_oss": 2, "exaone_moe": 4}  # fmt: skip
"""One layer of so many sees everything, where the file does not list them."""
_CHUNK = 8192
_INTERVAL = 4


def is_attending(keys: Keys, kind: str, number: int) -> bool:
    """Return whether a layer has attention, rather than a recurrent part alone."""
    pattern, listed = keys.text("hybrid_override_pattern"), _listed(keys, number)
    linear = keys.inner("linear_attn_config")
    indices = keys.values.get("attn_layer_indices") or keys.values.get("full_attn_idxs")
    if kind.startswith(("mamba", "falcon_mamba", "rwkv")):
        attends = False
    elif pattern:
        attends = pattern[number : number + 1] == "*"
    elif listed and kind != "falcon_h1":
        attends = listed in _LOCAL or listed in _GLOBAL
    elif isinstance(indices, list):
        attends = number in indices
    elif linear is not None and isinstance(full := linear.values.get("full_attn_layers"), list):
        attends = number + 1 in full  # counted from one
    elif keys.has("attn_layer_period"):
        period = keys.count("attn_layer_period", most=MOST_LAYERS)
        attends = number % period == keys.amount("attn_layer_offset", most=MOST_LAYERS)
    elif keys.has("full_attention_interval") or kind.startswith(("qwen3_next", "qwen3_5")):
        interval = keys.count("full_attention_interval", _INTERVAL, most=MOST_LAYERS)
        attends = (number + 1) % interval == 0
    else:
        attends = True
    return attends


def attention_of(keys: Keys, kind: str, hidden: int, count: int, number: int) -> Attention | None:
    """Return what a layer's attention caches.

    Args:
        keys: Of the configuration.
        kind: Its ``model_type``.
        hidden: The model's width.
        count: Number of its layers.
        number: Which one, from 0.

    Raises:
        ShapeUnknown: A number is missing, or cannot be true.
    """
    heads = _heads(keys, number)
    kv_heads = _kv_heads(keys, heads, number)
    if kv_heads is None:
        return None
    if heads % kv_heads and not keys.has("block_configs"):
        raise keys.refused("num_key_value_heads", kv_heads)
    width = keys.count("head_dim", max(1, hidden // heads))
    window = _window(keys, kind, number)
    if window is None and keys.has("global_head_dim"):
        width = keys.count("global_head_dim")
    shared = keys.amount("num_kv_shared_layers", most=count)
    index = keys.amount("index_head_dim")
    if keys.amount("kv_lora_rank"):
        rotated = keys.amount("qk_rope_head_dim")
        return Attention(
            heads=heads,
            kv_heads=1,
            key_width=keys.amount("qk_nope_head_dim") + rotated,
            value_width=keys.count("v_head_dim", width),
            latent=keys.amount("kv_lora_rank") + rotated,
            rotated=rotated,
            window=window,
            index_width=index,
        )
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        key_width=width,
        value_width=keys.count("v_head_dim", width),
        window=window,
        index_width=index,
        shares_cache=number >= count - shared,
    )


def _listed(keys: Keys, number: int) -> str:
    for name in ("layer_types", "layers_block_type", "attention_types"):
        kinds = keys.values.get(name)
        if isinstance(kinds, list) and number < len(kinds) and isinstance(kinds[number], str):
            return str(kinds[number])
    return ""


def _heads(keys: Keys, number: int) -> int:
    for name in ("num_attention_heads", "n_head", "n_heads", "num_heads"):
        value = keys.values.get(name)
        if isinstance(value, list):
            return keys.each(name, number + 1)[number] or keys.count(name)
        if value is not None:
            return keys.count(name)
    return keys.count("num_attention_heads")


def _kv_heads(keys: Keys, heads: int, number: int) -> int | None:
    """Return the heads that are cached; None for a layer without attention."""
    blocks = keys.values.get("block_configs")
    if isinstance(blocks, list) and number < len(blocks) and isinstance(blocks[number], dict):
        found = Keys(blocks[number], f"{keys.where}: block_configs").inner("attention")
        if found is None or found.true("no_op") or not found.has("n_heads_in_group"):
            return None
        return heads // min(heads, found.count("n_heads_in_group", most=LARGEST_WIDTH))
    if keys.true("multi_query") and not keys.true("new_decoder_architecture"):
        return 1
    for name in ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"):
        value = keys.values.get(name)
        if isinstance(value, list):
            return keys.each(name, number + 1)[number] or None
        if value is not None:
            return keys.count(name, most=heads)
    return heads


def _window(keys: Keys, kind: str, number: int) -> int | None:
    """Return how far a layer looks back; None for everything."""
    listed = _listed(keys, number)
    if kind.startswith("llama4"):
        return _chunk(keys, number, listed)
    window = keys.amount("sliding_window", most=LARGEST_CONTEXT)
    if not window and listed in _LOCAL:
        raise keys.refused("sliding_window", keys.values.get("sliding_window"))
    if not window or keys.values.get("use_sliding_window") is False:
        return None
    return window if _is_local(keys, kind, number, listed) else None


def _is_local(keys: Keys, kind: str, number: int, listed: str) -> bool:
    """Return whether a layer of a model with windows has one."""
    if listed:
        return listed in _LOCAL
    if kind.startswith("qwen2") and keys.has("max_window_layers"):
        return number >= keys.amount("max_window_layers", most=MOST_LAYERS)
    pattern = keys.values.get("sliding_window_pattern")
    if isinstance(pattern, str) and pattern:
        return pattern[number % len(pattern)].upper() == "L"
    family = next((name for name in _PERIODS if kind.startswith(f"{name}_") or kind == name), "")
    period = keys.amount("sliding_window_pattern", _PERIODS.get(family, 0), most=MOST_LAYERS)
    return not period or number % period != period - 1


def _chunk(keys: Keys, number: int, listed: str) -> int | None:
    """Return the chunk that a layer of Llama 4 sees; None for its global layers."""
    size = keys.amount("attention_chunk_size", _CHUNK, most=LARGEST_CONTEXT)
    rotated = keys.values.get("no_rope_layers")
    if listed:
        return size if listed in _LOCAL else None
    if isinstance(rotated, list) and number < len(rotated):
        return size if rotated[number] else None
    return None if (number + 1) % 4 == 0 else size
