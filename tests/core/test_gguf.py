"""The GGUF header: read as written, and not one count believed."""

import contextlib
import io
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.core.ggml import FILE_TYPES, GgmlType
from modelvault.core.gguf import read_header
from modelvault.errors import MalformedWeights
from tests.support import tinygguf as t


def _read(data: bytes) -> object:
    return read_header(io.BytesIO(data), len(data))


def test_header_says_what_the_file_holds() -> None:
    """Architecture, mix, size and arrays come out; arrays only as counts."""
    data = t.tiny_llama()
    header = read_header(io.BytesIO(data), len(data))
    assert header.architecture == "llama"
    assert header.file_type == "Q4_K_M"
    assert header.parameters == 96
    assert header.parts == 1
    assert header.arrays == {"tokenizer.ggml.tokens": 3}
    assert header.metadata["llama.context_length"] == 128
    assert header.text("tokenizer.chat_template") == "{{ messages }}"
    assert header.text("llama.context_length") == ""
    assert header.data_start % 32 == 0
    assert data[header.data_start :] == b"\0" * 384


def test_writer_of_the_gguf_library_is_read(tmp_path: Path) -> None:
    """The reference writer's file gives the same values."""
    gguf = pytest.importorskip("gguf")
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_context_length(4096)
    writer.add_token_list(["a", "b", "한"])
    writer.add_array("general.languages", ["en", "ko"])
    writer.add_array("llama.rope.sections", [1, 2, 3])
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_tensor("a.weight", numpy.zeros((3, 64), dtype=numpy.float32))
    writer.add_tensor("b.weight", numpy.zeros(32, dtype=numpy.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with path.open("rb") as file:
        header = read_header(file, path.stat().st_size)
    assert (header.architecture, header.file_type) == ("llama", "Q8_0")
    assert header.arrays["tokenizer.ggml.tokens"] == 3
    assert header.metadata["tokenizer.ggml.add_bos_token"] is True
    assert header.metadata["llama.rope.freq_base"] == 10000.0
    assert {info.name: info.shape for info in header.tensors} == {
        "a.weight": (64, 3),
        "b.weight": (32,),
    }
    assert header.parameters == 224
    reference = gguf.GGUFReader(path)
    assert header.data_start == reference.data_offset


def test_tables_equal_those_of_the_gguf_library() -> None:
    """Numbers, names and block sizes of types, and names of mixes, are the reference's."""
    gguf = pytest.importorskip("gguf")
    ours = {item.name: (item.number, (item.weights, item.block_bytes)) for item in GgmlType}
    assert ours == {kind.name: (int(kind), size) for kind, size in gguf.GGML_QUANT_SIZES.items()}
    named = {int(item): item.name for item in gguf.LlamaFileType if item.name != "GUESSED"}
    assert {kind: name.split("_", 1)[1] for kind, name in named.items()} == dict(FILE_TYPES)


@pytest.mark.parametrize("value", [t.U8, t.I8, t.U16, t.I16, t.U32, t.I32, t.U64, t.I64])
def test_every_kind_of_integer_is_read(value: int) -> None:
    """Integers of all widths come out as they went in."""
    code = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}[value]
    data = t.gguf([t.pair("n", value, struct.pack(f"<{code}", 7))])
    assert read_header(io.BytesIO(data), len(data)).metadata == {"n": 7}


def test_nested_arrays_are_counted() -> None:
    """An array of arrays is walked through."""
    inner = struct.pack("<IQ3H", t.U16, 3, 1, 2, 3)
    data = t.gguf(
        [
            t.pair("a", t.ARRAY, struct.pack("<IQ", t.ARRAY, 2) + inner + inner),
            t.u32_pair("split.count", 3),
        ]
    )
    header = read_header(io.BytesIO(data), len(data))
    assert header.arrays == {"a": 2}
    assert header.parts == 3


ARCH = t.string_pair("general.architecture", "llama")
DEEP = struct.pack("<IQ", t.ARRAY, 1) * 6 + struct.pack("<IQ", t.U8, 0)
LIES = {
    "not gguf": b"GGML" + b"\0" * 60,
    "empty": b"",
    "version 1": t.gguf([ARCH], version=1),
    "version 4": t.gguf([ARCH], version=4),
    "big endian": t.gguf([ARCH], version=0x03000000),
    "tensor count overflows": t.gguf([ARCH], tensor_count=2**64 - 1),
    "pair count overflows": t.gguf([ARCH], pair_count=2**63),
    "more pairs than bytes": t.gguf([ARCH], pair_count=100),
    "key of 2**63 bytes": t.gguf([struct.pack("<Q", 2**63) + b"x" * 64]),
    "string of 2**40 bytes": t.gguf([t.pair("k", t.STRING, struct.pack("<Q", 2**40))]),
    "array of 2**60 integers": t.gguf([t.pair("k", t.ARRAY, struct.pack("<IQ", t.U32, 2**60))]),
    "array of 2**60 strings": t.gguf([t.pair("k", t.ARRAY, struct.pack("<IQ", t.STRING, 2**60))]),
    "array whose string is endless": t.gguf(
        [t.pair("k", t.ARRAY, struct.pack("<IQQ", t.STRING, 1, 2**62))]
    ),
    "arrays nested too deep": t.gguf([t.pair("k", t.ARRAY, DEEP)]),
    "array of unknown type": t.gguf([t.pair("k", t.ARRAY, struct.pack("<IQ", 77, 0))]),
    "unknown type": t.gguf([t.pair("k", 13, b"\0" * 8)]),
    "bool that is neither": t.gguf([t.pair("k", t.BOOL, b"\2")]),
    "key twice": t.gguf([ARCH, ARCH]),
    "key not utf-8": t.gguf([struct.pack("<Q", 1) + b"\xff" + struct.pack("<IB", t.U8, 0)]),
    "tensor twice": t.gguf([ARCH], [t.tensor("a", [1], 0, 0)] * 2, data=b"\0" * 8),
    "five dimensions": t.gguf([ARCH], [t.tensor("a", [1] * 5, 0, 0)], data=b"\0" * 8),
    "zero dimension": t.gguf([ARCH], [t.tensor("a", [0], 0, 0)], data=b"\0" * 8),
    "product overflows": t.gguf([ARCH], [t.tensor("a", [2**40] * 4, 0, 0)], data=b"\0" * 8),
    "offset beyond the end": t.gguf([ARCH], [t.tensor("a", [1], 0, 2**40)], data=b"\0" * 8),
    "offset not aligned": t.gguf([ARCH], [t.tensor("a", [1], 0, 1)], data=b"\0" * 8),
    "overlap": t.gguf(
        [ARCH], [t.tensor("a", [16], 0, 32), t.tensor("b", [16], 0, 0)], data=b"\0" * 96
    ),
    "data cut off": t.gguf([ARCH], [t.tensor("a", [3], 0, 0)], data=b"\0" * 8),
    "row no multiple of the block": t.gguf([ARCH], [t.tensor("a", [33], 8, 0)], data=b"\0" * 99),
    "alignment of zero": t.gguf([t.u32_pair("general.alignment", 0)]),
    "alignment no power of two": t.gguf([t.u32_pair("general.alignment", 33)]),
    "alignment of a string": t.gguf([t.string_pair("general.alignment", "32")]),
    "alignment of 2**31": t.gguf([t.u32_pair("general.alignment", 2**31)]),
}


@pytest.mark.parametrize("lie", LIES)
def test_attack_lying_header(lie: str) -> None:
    """Each lie is refused at once, without the memory or time it asks for."""
    tracemalloc.start()
    started = time.thread_time()
    with pytest.raises(MalformedWeights):
        _read(LIES[lie])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 1024 * 1024
    assert time.thread_time() - started < 1.0


@given(st.integers(min_value=0, max_value=len(t.tiny_llama()) - 1))
def test_truncated_file_is_refused(length: int) -> None:
    """Cut anywhere, the file is no GGUF any more."""
    with pytest.raises(MalformedWeights):
        _read(t.tiny_llama()[:length])


@given(st.data())
def test_flipped_bytes_never_escape_the_error_tree(data: st.DataObject) -> None:
    """Any damage either still parses or is MalformedWeights."""
    content = bytearray(t.tiny_llama())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 300))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedWeights):
        _read(bytes(content))


def test_large_vocabulary_is_walked_in_flat_memory() -> None:
    """A header of 100,000 tokens takes a window, not a list."""
    tokens = [f"token number {number}" for number in range(100_000)]
    content = t.gguf([ARCH, t.strings_pair("tokenizer.ggml.tokens", tokens)])
    file = io.BytesIO(content)
    tracemalloc.start()
    header = read_header(file, len(content))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert header.arrays == {"tokenizer.ggml.tokens": 100_000}
    assert peak < 8 * 1024 * 1024
