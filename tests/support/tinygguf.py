"""GGUF files in a few hundred bytes, written value by value so that tests can lie in them."""

import struct
from collections.abc import Sequence

Pair = tuple[str, int, bytes]

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)


def text(value: str) -> bytes:
    """Return a string as GGUF has it: its length, then its bytes."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key: str, kind: int, value: bytes) -> bytes:
    """Return one metadata pair."""
    return text(key) + struct.pack("<I", kind) + value


def string_pair(key: str, value: str) -> bytes:
    """Return a pair with a string."""
    return pair(key, STRING, text(value))


def u32_pair(key: str, value: int) -> bytes:
    """Return a pair with an unsigned integer of 32 bits."""
    return pair(key, U32, struct.pack("<I", value))


def strings_pair(key: str, values: Sequence[str]) -> bytes:
    """Return a pair with an array of strings."""
    body = b"".join(text(value) for value in values)
    return pair(key, ARRAY, struct.pack("<IQ", STRING, len(values)) + body)


def tensor(name: str, shape: Sequence[int], kind: int, offset: int) -> bytes:
    """Return one tensor's description."""
    head = text(name) + struct.pack("<I", len(shape))
    return head + struct.pack(f"<{len(shape)}QIQ", *shape, kind, offset)


def gguf(
    pairs: Sequence[bytes],
    tensors: Sequence[bytes] = (),
    *,
    data: bytes = b"",
    version: int = 3,
    alignment: int = 32,
    tensor_count: int | None = None,
    pair_count: int | None = None,
) -> bytes:
    """Return a whole file; the counts tell the truth unless they are given."""
    head = struct.pack(
        "<4sIQQ",
        b"GGUF",
        version,
        len(tensors) if tensor_count is None else tensor_count,
        len(pairs) if pair_count is None else pair_count,
    )
    head += b"".join(pairs) + b"".join(tensors)
    return head + b"\0" * (-len(head) % alignment) + data


def tiny_llama(*, file_type: int = 15, seed: bytes = b"\0") -> bytes:
    """Return a GGUF of architecture llama with two F32 tensors of 64 and 32 weights."""
    return gguf(
        [
            string_pair("general.architecture", "llama"),
            string_pair("general.name", "tiny"),
            u32_pair("general.file_type", file_type),
            u32_pair("llama.context_length", 128),
            strings_pair("tokenizer.ggml.tokens", ["<s>", "</s>", "a"]),
            string_pair("tokenizer.chat_template", "{{ messages }}"),
        ],
        [tensor("token_embd.weight", [32, 2], 0, 0), tensor("output_norm.weight", [32], 0, 256)],
        data=(seed * 384)[:384],
    )
