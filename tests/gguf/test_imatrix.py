"""Importance matrices: what they do to the bytes, and what is refused about them."""

import ctypes
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from modelvault.core.ggml import GgmlType
from modelvault.core.protocol import Produced
from modelvault.errors import BadOption, MalformedWeights, UnsupportedTarget
from modelvault_converters.gguf.quantize import quantizer
from tests.gguf.running import convert, make_request, plan, run, warnings
from tests.support import tinygguf
from tests.support.imatrix import Entries, Floats, measured, write_imatrix, write_older_imatrix
from tests.support.tinymodel import Kind

TYPES = ("Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_L", "Q3_K_S", "Q2_K", "Q2_K_S")
BLOCKS_OF_32 = ("IQ4_XS", "IQ4_NL", "Q4_0", "Q5_0", "Q8_0")


def read(path: Path) -> dict[str, gguf.gguf_reader.ReaderTensor]:
    """Return the tensors of a file by name."""
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


@pytest.fixture(scope="module")
def source(tiny: Callable[[Kind], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny model in full precision."""
    return convert(tiny("bpe"), "F32", tmp_path_factory.mktemp("full"))


@pytest.fixture
def entries(source: Path) -> Entries:
    """Return an entry for every block weight of the tiny model."""
    return measured(
        {
            name: (1, int(tensor.shape[0]))
            for name, tensor in read(source).items()
            if name.startswith("blk.") and len(tensor.shape) == 2
        }
    )


def referee(rows: Floats, type_: GgmlType, weights: Floats | None) -> bytes:
    """Return what ggml's own quantiser makes of rows."""
    library = quantizer()._quantize
    result = np.empty(len(rows) * type_.row_bytes(rows.shape[1]), dtype=np.uint8)
    rows = np.ascontiguousarray(rows)
    pointer = None if weights is None else weights.ctypes.data_as(ctypes.c_void_p)
    library(type_.number, rows.ctypes.data, result.ctypes.data, 0, *rows.shape, pointer)
    return result.tobytes()


@pytest.mark.parametrize("target", [*TYPES, *BLOCKS_OF_32])
def test_weighted_bytes_are_those_of_ggml(
    tiny: Callable[[Kind], Path], source: Path, entries: Entries, tmp_path: Path, target: str
) -> None:
    """Each tensor is quantised with the mean of its squared inputs, as llama.cpp does."""
    imatrix = write_imatrix(tmp_path / "imatrix.gguf", entries)
    made = read(convert(tiny("bpe"), target, tmp_path / "out", imatrix=str(imatrix)))
    for name, tensor in read(source).items():
        type_ = GgmlType[made[name].tensor_type.name]
        if not type_.is_quantized:
            continue
        weights = None
        if name in entries:
            sums, counts = entries[name]
            weights = (sums / counts[:, None])[0]
        expected = referee(tensor.data.astype(np.float32), type_, weights)
        assert made[name].data.tobytes() == expected, name


@pytest.mark.parametrize("target", ["Q4_K_M", "IQ4_NL"])
def test_each_expert_has_weights_of_its_own(
    vector: Callable[[str], Path], tmp_path: Path, target: str
) -> None:
    """Experts are quantised one by one; one that saw no input counts its columns alike."""
    folder = vector("mixtral")
    full = read(convert(folder, "F32", tmp_path / "full"))
    entries = measured(
        {
            name: (int(np.prod(tensor.shape[2:])), int(tensor.shape[0]))
            for name, tensor in full.items()
            if name.startswith("blk.") and len(tensor.shape) > 1
        }
    )
    imatrix = write_imatrix(tmp_path / "imatrix.gguf", entries)
    made = read(convert(folder, target, tmp_path / "out", imatrix=str(imatrix)))
    stacked = [name for name in entries if "_exps" in name]
    assert stacked
    for name in stacked:
        type_ = GgmlType[made[name].tensor_type.name]
        sums, counts = entries[name]
        expected = b""
        for rows, row, count in zip(full[name].data, sums, counts):
            weights = row / count if count else np.ones_like(row)
            expected += referee(rows.astype(np.float32), type_, weights)
        assert made[name].data.tobytes() == expected, name


def test_matrix_changes_the_result(
    tiny: Callable[[Kind], Path], entries: Entries, tmp_path: Path
) -> None:
    """Negative control: the same type without the matrix gives other bytes."""
    imatrix = write_imatrix(tmp_path / "imatrix.gguf", entries)
    plain = read(convert(tiny("bpe"), "Q4_K_M", tmp_path / "plain"))
    weighted = read(convert(tiny("bpe"), "Q4_K_M", tmp_path / "weighted", imatrix=str(imatrix)))
    name = "blk.0.ffn_up.weight"
    assert plain[name].data.tobytes() != weighted[name].data.tobytes()
    assert plain["output.weight"].data.tobytes() == weighted["output.weight"].data.tobytes()


def test_lineage_names_the_matrix_where_it_was_used(
    tiny: Callable[[Kind], Path], entries: Entries, tmp_path: Path
) -> None:
    """Digest and chunks stand in the parameters of quantised types, and of no others."""
    imatrix = write_imatrix(tmp_path / "imatrix.gguf", entries, chunks=42)
    request = make_request(
        tiny("bpe"), ["F16", "Q4_K_M"], tmp_path / "out", options={"imatrix": str(imatrix)}
    )
    full, four = [event for event in run(request) if isinstance(event, Produced)]
    digest = hashlib.sha256(imatrix.read_bytes()).hexdigest()
    assert four.parameters["imatrix"] == f"sha256:{digest}"
    assert four.parameters["imatrix_chunks"] == "42"
    assert "imatrix" not in full.parameters


def test_missing_tensors_are_reported(
    tiny: Callable[[Kind], Path], entries: Entries, tmp_path: Path
) -> None:
    """A gap does not stop the conversion, but nobody has to guess about it."""
    del entries["blk.1.ffn_up.weight"]
    imatrix = write_imatrix(tmp_path / "imatrix.gguf", entries)
    (warning,) = warnings(plan(tiny("bpe"), "Q4_K_M", imatrix=str(imatrix)))
    assert "nothing of 1 tensors" in warning
    assert "blk.1.ffn_up.weight" in warning


def test_type_that_demands_a_matrix_is_refused_without(
    tiny: Callable[[Kind], Path], entries: Entries, tmp_path: Path
) -> None:
    """Q2_K_S without a matrix, or with one that has gaps, would be garbage."""
    with pytest.raises(UnsupportedTarget, match="importance matrix") as caught:
        plan(tiny("bpe"), "Q2_K_S")
    assert "--imatrix" in caught.value.hint
    del entries["blk.0.attn_q.weight"]
    imatrix = write_imatrix(tmp_path / "imatrix.gguf", entries)
    with pytest.raises(UnsupportedTarget, match=r"blk\.0\.attn_q"):
        plan(tiny("bpe"), "Q2_K_S", imatrix=str(imatrix))


def test_matrix_of_another_model_is_refused(
    tiny: Callable[[Kind], Path], entries: Entries, tmp_path: Path
) -> None:
    """A different width shows before a byte is written."""
    entries |= measured({"blk.0.attn_q.weight": (1, 512)})
    imatrix = write_imatrix(tmp_path / "imatrix.gguf", entries)
    with pytest.raises(BadOption, match="of another model"):
        plan(tiny("bpe"), "Q4_K_M", imatrix=str(imatrix))


def test_matrix_of_experts_is_refused_for_a_dense_model(
    tiny: Callable[[Kind], Path], entries: Entries, tmp_path: Path
) -> None:
    """The number of matrices counts, too."""
    entries |= measured({"blk.0.ffn_up.weight": (8, 256)})
    imatrix = write_imatrix(tmp_path / "imatrix.gguf", entries)
    with pytest.raises(BadOption, match="8 x 256"):
        plan(tiny("bpe"), "Q4_K_M", imatrix=str(imatrix))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_attack_with_impossible_sums_is_refused(
    tiny: Callable[[Kind], Path], entries: Entries, tmp_path: Path, value: float
) -> None:
    """NaN, infinity and negative squares never reach the search for scales."""
    entries["blk.0.ffn_up.weight"][0][0, 3] = value
    imatrix = write_imatrix(tmp_path / "imatrix.gguf", entries)
    with pytest.raises(MalformedWeights, match=r"blk\.0\.ffn_up"):
        plan(tiny("bpe"), "Q4_K_M", imatrix=str(imatrix))


@pytest.mark.parametrize("kind", ["dense", "experts"])
def test_older_format_gives_the_same_bytes(
    vector: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    """A list as llama.cpp wrote them before GGUF says the same, experts included."""
    folder = vector("mixtral" if kind == "experts" else "llama3")
    entries = measured(
        {
            name: (int(np.prod(tensor.shape[2:], initial=1)), int(tensor.shape[0]))
            for name, tensor in read(convert(folder, "F32", tmp_path / "full")).items()
            if name.startswith("blk.") and len(tensor.shape) > 1
        }
    )
    new = write_imatrix(tmp_path / "imatrix.gguf", entries)
    old = write_older_imatrix(tmp_path / "imatrix.dat", entries)
    made = [
        convert(folder, "Q4_K_M", tmp_path / path.suffix[1:], imatrix=str(path)).read_bytes()
        for path in (new, old)
    ]
    assert made[0] == made[1]


def test_lineage_names_a_matrix_in_the_older_format(
    tiny: Callable[[Kind], Path], entries: Entries, tmp_path: Path
) -> None:
    """The number of chunks behind the last entry is read; without it, it is 0."""
    older = write_older_imatrix(tmp_path / "imatrix.dat", entries, chunks=42)
    for data, chunks in ((older.read_bytes(), "42"), (older.read_bytes()[:-23], "0")):
        older.write_bytes(data)
        request = make_request(
            tiny("bpe"), ["Q8_0"], tmp_path / chunks, options={"imatrix": str(older)}
        )
        (made,) = [event for event in run(request) if isinstance(event, Produced)]
        assert made.parameters["imatrix_chunks"] == chunks


def test_older_format_of_another_model_is_refused(
    tiny: Callable[[Kind], Path], entries: Entries, tmp_path: Path
) -> None:
    """Here the number of values is all there is to compare."""
    entries |= measured({"blk.0.attn_q.weight": (2, 256)})
    older = write_older_imatrix(tmp_path / "imatrix.dat", entries)
    with pytest.raises(BadOption, match="1 x 256 columns, the importance matrix 512 in all"):
        plan(tiny("bpe"), "Q4_K_M", imatrix=str(older))


NAME = b"\x01\0\0\0\x01\0\0\0a"
LISTS = {
    "empty": b"",
    "text": b"an importance matrix, honestly",
    "no entries": struct.pack("<i", 0),
    "negative": struct.pack("<i", -1),
    "name beyond the file": struct.pack("<ii", 1, 2**30),
    "cut after the name": NAME,
    "no values": NAME + struct.pack("<ii", 1, 0),
    "values beyond the file": NAME + struct.pack("<ii", 1, 2**31 - 1) + bytes(8),
}


@pytest.mark.parametrize("lie", LISTS)
def test_attack_with_a_lying_list_is_refused(
    tiny: Callable[[Kind], Path], tmp_path: Path, lie: str
) -> None:
    """What is in neither format is said so, and no length is believed."""
    path = tmp_path / "imatrix.dat"
    path.write_bytes(LISTS[lie])
    with pytest.raises(BadOption, match="neither a GGUF file nor a list"):
        plan(tiny("bpe"), "Q4_K_M", imatrix=str(path))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-100], "claims"),
        (lambda data: data[:4] + 2 * data[4:], "stands twice"),
        (lambda data: data.replace(b"blk.1", b"blk.\xff", 1), "not UTF-8"),
    ],
)
def test_attack_with_a_list_that_goes_wrong_later_is_refused(
    tiny: Callable[[Kind], Path],
    entries: Entries,
    tmp_path: Path,
    change: Callable[[bytes], bytes],
    reason: str,
) -> None:
    """A damaged list is told from a file of another kind."""
    older = write_older_imatrix(tmp_path / "imatrix.dat", entries)
    # What follows the last entry is left out: it would stand between the copies.
    data = change(older.read_bytes()[:-23])
    older.write_bytes(struct.pack("<i", 2 * len(entries)) + data[4:])
    with pytest.raises(MalformedWeights, match=reason):
        plan(tiny("bpe"), "Q4_K_M", imatrix=str(older))


def test_attack_with_impossible_values_in_a_list_is_refused(
    tiny: Callable[[Kind], Path], entries: Entries, tmp_path: Path
) -> None:
    """NaN is found in the older format, too."""
    entries["blk.0.ffn_up.weight"][0][0, 3] = np.nan
    older = write_older_imatrix(tmp_path / "imatrix.dat", entries)
    with pytest.raises(MalformedWeights, match=r"blk\.0\.ffn_up"):
        plan(tiny("bpe"), "Q4_K_M", imatrix=str(older))


def test_model_instead_of_a_matrix_is_refused(tiny: Callable[[Kind], Path], source: Path) -> None:
    """A GGUF that is a model is told from an importance matrix."""
    with pytest.raises(BadOption, match="'llama'"):
        plan(tiny("bpe"), "Q4_K_M", imatrix=str(source))


def test_sums_without_counts_are_refused(tiny: Callable[[Kind], Path], tmp_path: Path) -> None:
    """Half an entry is no entry."""
    path = tmp_path / "half.gguf"
    tensors = [tinygguf.tensor("blk.0.ffn_up.weight.in_sum2", [64], 0, 0)]
    path.write_bytes(tinygguf.gguf([], tensors, data=bytes(256)))
    with pytest.raises(MalformedWeights, match="no matching counts"):
        plan(tiny("bpe"), "Q4_K_M", imatrix=str(path))


def test_attack_with_sums_beyond_the_file_is_refused(
    tiny: Callable[[Kind], Path], entries: Entries, tmp_path: Path
) -> None:
    """A truncated file is refused by its header, before a value is read."""
    imatrix = write_imatrix(tmp_path / "imatrix.gguf", entries)
    imatrix.write_bytes(imatrix.read_bytes()[:-64])
    with pytest.raises(MalformedWeights, match="beyond the end"):
        plan(tiny("bpe"), "Q4_K_M", imatrix=str(imatrix))


QUERIES = "blk.0.attn_q.weight"


def rows_of(path: Path, name: str) -> Floats:
    """Return the values of a tensor, float32."""
    tensor = read(path)[name]
    values: Floats = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    return values


@pytest.mark.parametrize("target", ["Q6_K", "Q4_K_M", "Q3_K_S", "Q2_K_S", "IQ4_XS", "Q4_0", "Q5_0"])
@pytest.mark.parametrize("older", [False, True], ids=["gguf", "dat"])
def test_zeros_are_columns_that_were_not_seen(
    tiny: Callable[[Kind], Path],
    source: Path,
    entries: Entries,
    tmp_path: Path,
    *,
    target: str,
    older: bool,
) -> None:
    """A tensor whose sums are all zero is not wiped; a warning and the lineage name it."""
    write = write_older_imatrix if older else write_imatrix
    whole = convert(
        tiny("bpe"), target, tmp_path / "a", imatrix=str(write(tmp_path / "a.matrix", entries))
    )
    entries[QUERIES][0][:] = 0
    matrix = write(tmp_path / "b.matrix", entries)
    events = run(
        make_request(tiny("bpe"), [target], tmp_path / "b", options={"imatrix": str(matrix)})
    )
    (made,) = [event for event in events if isinstance(event, Produced)]
    assert made.parameters["imatrix_unseen"] == QUERIES
    assert [text for text in warnings(events) if "not seen" in text and QUERIES in text]
    full, rounded = rows_of(source, QUERIES), rows_of(tmp_path / "b" / made.files[0], QUERIES)
    assert np.abs(rounded - full).mean() < 0.5 * np.abs(full).mean()
    other = read(tmp_path / "b" / made.files[0])
    for name, tensor in read(whole).items():
        if name != QUERIES:
            assert tensor.data.tobytes() == other[name].data.tobytes(), name


def test_zeros_of_one_block_leave_the_others_alone(
    tiny: Callable[[Kind], Path], source: Path, entries: Entries, tmp_path: Path
) -> None:
    """Where some columns were seen, the blocks that hold them are those of ggml to the byte."""
    sums = entries[QUERIES][0]
    sums[:, 32:64] = 0
    sums[:, 65] = 0  # one among others: as llama-quantize has it
    matrix = str(write_imatrix(tmp_path / "m.gguf", entries))
    path = convert(tiny("bpe"), "Q4_0", tmp_path / "out", imatrix=matrix)
    made, full = read(path)[QUERIES], rows_of(source, QUERIES)
    type_ = GgmlType.Q4_0
    assert made.tensor_type == type_.number
    weights = (sums / entries[QUERIES][1][:, None]).astype(np.float32)[0]
    expected = np.frombuffer(referee(full, type_, weights), dtype=np.uint8)
    blocks = made.data.reshape(len(full), -1, type_.block_bytes)
    wiped = expected.reshape(blocks.shape)
    same = (blocks == wiped).all(axis=(0, 2))
    assert same.tolist() == [number != 1 for number in range(blocks.shape[1])]
    assert np.abs(rows_of(path, QUERIES)[:, 32:64] - full[:, 32:64]).mean() < 0.1
    assert np.abs(rows_of(path, QUERIES)[:, 32:64]).mean() > 0.5 * np.abs(full[:, 32:64]).mean()
