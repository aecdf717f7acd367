"""What JSON would cost is known from its bytes, before a parser pays for it."""

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelvault.bundle.format import index
from modelvault.bundle.format.index import INDEX_LIMIT
from modelvault.core import canonical, json_bounds, manifest
from modelvault.core.digest import Digest
from modelvault.core.json_bounds import check_bounds
from modelvault.core.lockfile import MOST_VALUES as LOCK_VALUES
from modelvault.core.manifest import MANIFEST_LIMIT
from modelvault.errors import MalformedRecord

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text('[]{},:"\\\x00\x1f é')
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=30,
)


def values_of(value: Any) -> int:
    """Count values; what is empty counts as if it held one."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return 1 + max(1, sum(map(values_of, value)))
    return 1


def depth_of(value: Any) -> int:
    """Count lists and objects within each other."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def passes(data: bytes, **bounds: int) -> bool:
    """Return whether the bounds hold."""
    try:
        check_bounds(data, **bounds)
    except MalformedRecord:
        return False
    return True


@given(VALUES, st.booleans(), st.sampled_from([None, 1]), st.sampled_from([1, 2, 3, 7, 65536]))
def test_scan_counts_what_the_parser_makes(
    value: Any, ascii_only: bool, indent: int | None, window: int
) -> None:
    """However it is spelled, and wherever a window ends: both counts are exact."""
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    values, deepest = values_of(value), depth_of(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_bounds, "_WINDOW", window)
        assert passes(data, values=values, deepest=deepest)
        assert not passes(data, values=values - 1, deepest=deepest)
        assert not deepest or not passes(data, values=values, deepest=deepest - 1)


@given(st.text('[]{},:"\\ux0 1'))
def test_whatever_the_parser_takes_is_counted(text: str) -> None:
    """Of bytes that may be no JSON, what the parser accepts was counted right."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    assert passes(text.encode(), values=values_of(value), deepest=depth_of(value))
    assert not passes(text.encode(), values=values_of(value) - 1)


@pytest.mark.parametrize(
    "unit",
    [b"[", b'{"":', b'{"a":[', b"[],", b"{},", b'"",', b"1,", b'"\\"[",', b"[[[]]],", b"]["],
)
def test_hostile_width_and_depth_cost_next_to_nothing(unit: bytes) -> None:
    """32 MiB of it, with and without a beginning in good form: refused at once, in no memory."""
    size = 32 * 1024 * 1024
    for head in (b"", b'[{"_type":"modelvault/bundle/v1","blobs":['):
        data = head + unit * (size // len(unit))
        tracemalloc.start()
        begun = time.process_time()
        with pytest.raises(MalformedRecord, match="more than"):
            canonical.parse(data, limit=len(data))
        took = time.process_time() - begun
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert took < 1
        assert peak < 4 * 1024 * 1024


PIECE = (
    f'{{"carrier":0,"codec":"none","digest":"{Digest.of(b"")}",'
    '"offset":0,"size":1,"start":0,"stored":1}'
)
FILE = f'{{"digest":"{Digest.of(b"")}","path":"a","size":0}}'


@pytest.mark.parametrize(
    ("item", "limit", "values"),
    [
        (PIECE, INDEX_LIMIT, index.MOST_VALUES),
        (FILE, MANIFEST_LIMIT, LOCK_VALUES),
        (FILE, 200_000 * len(FILE), manifest.MOST_VALUES),
    ],
)
def test_longest_records_are_within_the_bounds(item: str, limit: int, values: int) -> None:
    """Whatever honest record the limit on length lets in has no more values than may be."""
    data = b"[" + f"{item},".encode() * (limit // (len(item) + 1)) + b"0]"
    check_bounds(data, values=values)


def test_strings_of_brackets_are_no_nesting() -> None:
    """A readable text of any length, full of structure and escapes, is one value."""
    text = '[{"\\' * 200_000
    data = canonical.encode([text])
    assert canonical.parse(data, limit=len(data), values=2) == [text]
