"""What a recurrent layer of a ``config.json`` keeps of each sequence."""

from modelvault.errors import ShapeUnknown
from modelvault.fit.reading import Keys
from modelvault.fit.shape import Recurrent

_KERNEL = 4
"""Width of the convolution, where the file does not say."""


def recurrent_of(keys: Keys, kind: str, hidden: int) -> Recurrent:
    """Return what one layer keeps.

    Args:
        keys: Of the configuration.
        kind: Its ``model_type``.
        hidden: The model's width.

    Raises:
        ShapeUnknown: The layer is of a kind that is not known, or a number cannot be true.
    """
    if keys.has("linear_num_value_heads"):
        return _delta(keys)
    if keys.has("linear_attn_config"):
        return _kimi(keys)
    if kind.startswith("lfm2"):
        length = keys.count("conv_L_cache", 3)
        return Recurrent(convolution=hidden * (length - 1), state=0)
    if kind.startswith("minimax"):
        heads = keys.count("num_attention_heads")
        width = keys.count("head_dim", max(1, hidden // heads))
        return Recurrent(convolution=0, state=heads * width * width, inner=heads * width)
    return _mamba(keys, kind, hidden)


def _delta(keys: Keys) -> Recurrent:
    """A gated delta net, as Qwen3-Next has it."""
    heads, value_width = keys.count("linear_num_value_heads"), keys.count("linear_value_head_dim")
    groups, key_width = keys.count("linear_num_key_heads"), keys.count("linear_key_head_dim")
    inner = heads * value_width
    kernel = keys.count("linear_conv_kernel_dim", _KERNEL)
    return Recurrent(
        convolution=(kernel - 1) * (inner + 2 * groups * key_width),
        state=key_width * inner,
        inner=inner,
        groups=groups,
        state_width=key_width,
        heads=heads,
    )


def _kimi(keys: Keys) -> Recurrent:
    found = keys.inner("linear_attn_config")
    if found is None:
        raise keys.refused("linear_attn_config", keys.values.get("linear_attn_config"))
    heads, width = found.count("num_heads"), found.count("head_dim")
    kernel = found.count("short_conv_kernel_size", _KERNEL)
    return Recurrent(
        convolution=3 * (kernel - 1) * heads * width,
        state=heads * width * width,
        inner=heads * width,
        heads=heads,
    )


def _mamba(keys: Keys, kind: str, hidden: int) -> Recurrent:
    heads = _either(keys, "mamba_num_heads", "mamba_n_heads") or (
        keys.amount("num_heads") if kind == "mamba2" else 0
    )
    width = _either(keys, "mamba_head_dim", "mamba_d_head") or (
        keys.amount("head_dim") if kind == "mamba2" else 0
    )
    state = _either(keys, "mamba_d_state", "ssm_state_size", "state_size")
    if not state:
        raise ShapeUnknown(
            f"config.json: the recurrent layers of {kind or 'this model'} are not known",
            hint="convert it to GGUF, whose keys say what a layer keeps, and ask for that",
        )
    groups = _either(keys, "mamba_n_groups", "n_groups")
    kernel = _either(keys, "mamba_d_conv", "conv_kernel") or _KERNEL
    expanded = hidden * (_either(keys, "mamba_expand", "expand") or 2)
    inner = _either(keys, "mamba_d_ssm", "intermediate_size_ssm") or heads * width or expanded
    return Recurrent(
        convolution=(kernel - 1) * (inner + 2 * groups * state),
        state=state * inner,
        inner=inner,
        groups=max(1, groups),
        state_width=state,
        heads=heads,
    )


def _either(keys: Keys, *names: str) -> int:
    return next((keys.amount(name) for name in names if keys.amount(name)), 0)
