"""Our quantiser against ggml's: the same bytes, whatever the weights and the processor."""

import ctypes
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelvault.core.ggml import GgmlType
from modelvault.errors import ConverterMissing, MalformedWeights, UnsupportedTarget
from modelvault_converters.gguf import kernel, quantize
from modelvault_converters.gguf.kernel import BLOCKS, LEVELS, Kernel
from modelvault_converters.gguf.rows import to_floats
from modelvault_converters.gguf.tensors import Floats
from tests.support.needs import require
from tests.support.weights import DISTRIBUTIONS, IMPORTANCES

TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")


def load(level: str) -> Kernel:
    """Return the kernel bound to an instruction set, or skip the test where there is none."""
    try:
        return Kernel(kernel.LIBRARY, level)
    except OSError as error:
        require(f"the kernel's {level} code ({error})")


def referee(rows: Floats, type_: GgmlType, importance: Floats | None = None) -> bytes:
    """Return the bytes of ggml, also where they are no valid tensor."""
    library = ctypes.CDLL(str(quantize._find_library()))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    result = np.zeros(len(rows) * type_.row_bytes(rows.shape[1]), dtype=np.uint8)
    written = library.ggml_quantize_chunk(
        type_.number,
        ctypes.c_void_p(rows.ctypes.data),
        ctypes.c_void_p(result.ctypes.data),
        ctypes.c_int64(0),
        ctypes.c_int64(len(rows)),
        ctypes.c_int64(rows.shape[1]),
        None if importance is None else ctypes.c_void_p(importance.ctypes.data),
    )
    assert written == result.size
    return result.tobytes()


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that sets the environment's choice for the rest of the test."""
    kernel.find_kernel.cache_clear()

    def set_choice(choice: str) -> None:
        monkeypatch.setenv("MODELVAULT_KERNEL", choice)
        kernel.find_kernel.cache_clear()

    yield set_choice
    monkeypatch.undo()
    kernel.find_kernel.cache_clear()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize("name", TYPES)
def test_bytes_equal_ggml_for_every_kind_of_weights(name: str, importance: str, level: str) -> None:
    """Random, real-looking, extreme: each type, each instruction set, weighted or not."""
    own, type_ = load(level), GgmlType[name]
    for label, make in DISTRIBUTIONS.items():
        generator = np.random.default_rng(7)
        rows = make(generator, (21, 768))
        weights = IMPORTANCES[importance](generator, 768)
        made = own.quantize(rows, "F32", type_.number, weights)
        assert made.tobytes() == referee(rows, type_, weights), label


@pytest.mark.parametrize(
    ("name", "weights", "importance"),
    [
        ("Q3_K", "normal", "none"),  # a fifth round of moves, two blocks in two thousand
        ("Q3_K", "one large", "none"),
        ("Q4_K", "negative", "mostly zero"),  # a negative scale that wraps
        ("Q4_K", "heavy tails", "mostly zero"),
        ("Q2_K", "around minus one", "mostly zero"),
        ("Q2_K", "around minus one", "peaked"),
    ],
)
def test_bytes_equal_ggml_where_paths_are_rare(name: str, weights: str, importance: str) -> None:
    """Samples large enough for what a few blocks in thousands meet."""
    type_ = GgmlType[name]
    generator = np.random.default_rng(8)
    rows = DISTRIBUTIONS[weights](generator, (300, 2048))
    columns = IMPORTANCES[importance](generator, 2048)
    made = load("").quantize(rows, "F32", type_.number, columns)
    assert made.tobytes() == referee(rows, type_, columns)


@pytest.mark.parametrize("name", TYPES)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_bytes_equal_ggml_for_arbitrary_weights(name: str, data: st.DataObject) -> None:
    """Hypothesis picks sizes, bit patterns, repetition and importance."""
    own, type_ = load(""), GgmlType[name]
    width = BLOCKS[type_.number][0]
    shape = (data.draw(st.integers(1, 5)), width * data.draw(st.integers(1, 9)))
    palette = data.draw(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=24), label="values"
    )
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows = generator.choice(np.array(palette, dtype=np.float32), shape)
    if data.draw(st.booleans(), label="noise"):
        rows *= generator.standard_normal(shape, dtype=np.float32)
    weights = None
    if data.draw(st.booleans(), label="weighted"):
        weights = generator.choice(
            np.array(
                data.draw(st.lists(st.floats(0, 1e4, width=32), min_size=1, max_size=9)),
                dtype=np.float32,
            ),
            shape[1],
        )
    made = own.quantize(rows, "F32", type_.number, weights)
    assert made.tobytes() == referee(rows, type_, weights)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("blocks", [1, 3, 4, 5, 15, 16, 17, 33])
def test_every_number_of_blocks_is_written_exactly(blocks: int, name: str, level: str) -> None:
    """Lanes that are not filled change nothing, and no byte beyond the end is written."""
    own, type_ = load(level), GgmlType[name]
    width, size = BLOCKS[type_.number]
    rows = np.random.default_rng(blocks).standard_normal((1, blocks * width), dtype=np.float32)
    guarded = np.full(blocks * size + 64, 0xA5, dtype=np.uint8)
    status = own._quantize(
        LEVELS.index(level), type_.number, rows.ctypes.data, 0, guarded.ctypes.data,
        blocks, blocks, None,
    )  # fmt: skip
    assert status == 0
    assert guarded[: blocks * size].tobytes() == referee(rows, type_)
    assert (guarded[blocks * size :] == 0xA5).all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", TYPES)
def test_stored_halves_give_the_bytes_of_their_floats(name: str, level: str) -> None:
    """BF16 and F16 bits are widened inside the kernel: every finite pattern, the same bytes."""
    own, type_ = load(level), GgmlType[name]
    bits = np.arange(2**16, dtype=np.uint16)
    for stored, exponent in (("BF16", 0x7F80), ("F16", 0x7C00)):
        finite = bits[(bits & exponent) != exponent]
        if stored == "BF16":  # beyond this the search itself overflows
            finite = finite[(finite & 0x7FFF) < 0x4980]
        rows = np.resize(np.random.default_rng(3).permutation(finite), (64, 1024))
        expected = own.quantize(to_floats(rows, stored), "F32", type_.number)
        assert own.quantize(rows, stored, type_.number).tobytes() == expected.tobytes()


@pytest.mark.parametrize("level", LEVELS)
def test_halves_equal_those_of_numpy(level: str) -> None:
    """Normal, subnormal, at every tie and beyond the end: the bits of numpy's conversion."""
    own = load(level)
    # Every eighth of a step of half precision: all ties, and both sides of each.
    steps = np.arange(0x32000000, 0x48000000, 1 << 10, dtype=np.uint32)
    random = np.random.default_rng(9).integers(0, 0x7F800000, 100_003, dtype=np.uint32)
    size = np.concatenate([steps, steps + 1, steps - 1, random, np.arange(9, dtype=np.uint32)])
    rows = np.concatenate([size, size | np.uint32(0x80000000)]).view(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        expected = rows.astype(np.float16)
    assert own.halve(rows).tobytes() == expected.tobytes()
    for count in (0, 1, 255, 256, 257):
        assert own.halve(rows[:count].copy()).tobytes() == expected[:count].tobytes()


def test_fallback_halves_the_same_and_refuses_the_same(choose: Callable[[str], None]) -> None:
    """With the kernel off, numpy writes the same F16 and the same values are refused."""
    rows = np.ldexp(np.ones((1, 64), dtype=np.float32), np.arange(-40, 24, dtype=np.int32) % 16)
    made = []
    for choice in ("", "off"):
        choose(choice)
        made.append(quantize.encode(rows, GgmlType.F16, "t").tobytes())
        with pytest.raises(UnsupportedTarget, match="F16 ends at"):
            quantize.encode(rows * np.float32(1e5), GgmlType.F16, "t")
    assert made[0] == made[1]


@pytest.mark.parametrize("name", TYPES)
def test_threads_do_not_disturb_each_other(name: str) -> None:
    """Eight threads in the kernel at once write what one thread writes."""
    own, type_ = load(""), GgmlType[name]
    rows = np.random.default_rng(5).standard_normal((64, 1024), dtype=np.float32)
    whole = own.quantize(rows, "F32", type_.number).tobytes()
    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(
            lambda start: own.quantize(rows[start : start + 4], "F32", type_.number).tobytes(),
            range(0, 64, 4),
        )
        assert b"".join(parts) == whole


@pytest.mark.parametrize("name", TYPES)
def test_fallback_writes_the_same_bytes_and_says_who_wrote(
    name: str, choose: Callable[[str], None]
) -> None:
    """With the kernel off, ggml quantises; the record names each by its version."""
    load("")
    type_ = GgmlType[name]
    rows = np.random.default_rng(1).standard_normal((9, 512), dtype=np.float32)
    importance = np.random.default_rng(2).random(512, dtype=np.float32)
    choose("")
    fast = [quantize.encode(rows, type_, "t", item).tobytes() for item in (None, importance)]
    assert quantize.quantizer_versions({type_}) == {
        "modelvault-kernel": f"{kernel.VERSION}+{load('').level}"
    }
    choose("off")
    slow = [quantize.encode(rows, type_, "t", item).tobytes() for item in (None, importance)]
    assert list(quantize.quantizer_versions({type_})) == ["xllamacpp"]
    assert fast == slow


def test_other_block_types_stay_with_ggml() -> None:
    """Types the kernel does not know are recorded, and made, as ggml's."""
    assert list(quantize.quantizer_versions({GgmlType.Q5_1, GgmlType.F16})) == ["xllamacpp"]
    assert quantize.quantizer_versions({GgmlType.F16, GgmlType.F32}) == {}


def test_missing_library_is_no_error(
    choose: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where nothing was built, or something that is no library, conversions go on with ggml."""
    broken = tmp_path / "_kernel.abi3.so"
    for content in (None, b"not a library"):
        if content is not None:
            broken.write_bytes(content)
        monkeypatch.setattr(kernel, "LIBRARY", broken)
        kernel.find_kernel.cache_clear()
        assert kernel.find_kernel() is None


def test_demanded_instruction_set_that_is_missing_is_told(choose: Callable[[str], None]) -> None:
    """A choice that cannot be had is refused with the ones that can."""
    choose("avx1024")
    with pytest.raises(ConverterMissing, match="avx1024") as caught:
        quantize.encode(np.ones((1, 256), dtype=np.float32), GgmlType.Q4_K, "t")
    assert "baseline" in caught.value.hint


@pytest.mark.parametrize("name", TYPES)
def test_weights_too_large_for_a_block_are_refused(name: str) -> None:
    """Far beyond half precision's scales no byte is written, by either quantiser."""
    rows = np.full((1, 256), 2e6, dtype=np.float32)
    with pytest.raises(MalformedWeights, match="too large"):
        quantize.encode(rows, GgmlType[name], "t")


@pytest.mark.parametrize(
    ("rows", "stored", "importance"),
    [
        (np.zeros((2, 255), dtype=np.float32), "F32", None),
        (np.zeros((2, 256), dtype=np.float32), "BF16", None),
        (np.zeros((256, 512), dtype=np.float32)[:, ::2], "F32", None),
        (np.zeros((2, 256), dtype=np.float32), "F32", np.ones(255, dtype=np.float32)),
        (np.zeros((2, 256), dtype=np.float32), "F32", np.ones(256, dtype=np.float64)),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_they_are_read(
    rows: Floats, stored: str, importance: Floats | None
) -> None:
    """Rows that blocks do not fill, another type, gaps, a short importance: nothing is touched."""
    with pytest.raises(ValueError, match=r"blocks of|importance"):
        load("").quantize(rows, stored, GgmlType.Q4_K.number, importance)
