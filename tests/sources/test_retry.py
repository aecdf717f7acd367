"""The decisions of a download: what an answer means, and when patience ends."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import HTTPHeaderDict

from modelvault.sources.fetch.http.answers import ContentRange, Verdict, judge
from modelvault.sources.net.retry import MIB, Limits, Patience, wait_hint
from modelvault.sources.net.urls import plain_etag

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
RANGE = {"Content-Range": "bytes 100-199/1000"}


@pytest.mark.parametrize(
    ("status", "headers", "start", "verdict"),
    [
        (200, {}, None, Verdict.TAKE),
        (200, {}, 0, Verdict.RANGE_IGNORED),
        (206, RANGE, 100, Verdict.TAKE),
        (206, RANGE, 101, Verdict.RANGE_IGNORED),
        (206, {}, 100, Verdict.RANGE_IGNORED),
        (206, {"Content-Range": "bytes 100-199/150"}, 100, Verdict.RANGE_IGNORED),
        (206, {**RANGE, "Content-Encoding": "gzip"}, 100, Verdict.RANGE_IGNORED),
        (206, RANGE, None, Verdict.LOCATE),
        *((status, {}, 0, Verdict.WAIT) for status in (408, 425, 429, 500, 502, 503, 504, 599)),
        *((status, {}, 0, Verdict.LOCATE) for status in (204, 304, 400, 401, 403, 404, 410, 416)),
    ],
)
def test_answer_is_judged(
    status: int, headers: dict[str, str], start: int | None, verdict: Verdict
) -> None:
    """One verdict for each kind of answer."""
    assert judge(status, HTTPHeaderDict(headers), start) is verdict


@given(start=st.integers(0, 10**15), length=st.integers(1, 10**12), rest=st.integers(0, 10**12))
def test_content_range_is_read_back(start: int, length: int, rest: int) -> None:
    """What a server writes is what we read; the end is exclusive."""
    end = start + length
    text = f"bytes {start}-{end - 1}/{end + rest}"
    assert ContentRange.parse(text) == ContentRange(start=start, end=end, total=end + rest)


@pytest.mark.parametrize(
    "text",
    [None, "", "bytes */100", "bytes 5-4/10", "bytes 0-10/10", "bytes -1-5/10", "items 0-1/2"],
)
def test_content_range_that_makes_no_sense_is_none(text: str | None) -> None:
    """No guess is made."""
    assert ContentRange.parse(text) is None


def test_content_range_of_unknown_total_is_read() -> None:
    """A server may not know the whole length."""
    assert ContentRange.parse("bytes 0-4/*") == ContentRange(start=0, end=5, total=None)


@given(st.text(max_size=80))
def test_attack_any_header_is_survived(text: str) -> None:
    """Headers are somebody else's text."""
    headers = HTTPHeaderDict({"RateLimit": text, "Retry-After": text, "Content-Range": text})
    hint = wait_hint(headers, NOW)
    assert hint is None or hint >= 0
    ContentRange.parse(text)
    plain_etag(text)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "-7"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Thu, 01 Jan 2026 12:01:30 GMT"}, 90.0),
        ({"Retry-After": "Thu, 01 Jan 2026 12:01:30 -0000"}, 90.0),
        ({"Retry-After": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0.0),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"RateLimit": '"api";r=3;t=55'}, None),
        ({"RateLimit": '"api";r=0;t=55', "Retry-After": "7"}, 55.0),
        ({"RateLimit": '"api";r=9;t=55', "Retry-After": "7"}, 7.0),
    ],
)
def test_wait_hint_is_read(headers: dict[str, str], seconds: float | None) -> None:
    """``RateLimit`` first, then ``Retry-After`` as seconds or as a date."""
    assert wait_hint(HTTPHeaderDict(headers), NOW) == seconds


@pytest.mark.parametrize("text", ['"abc"', 'W/"abc"', "abc", ' "abc" '])
def test_etag_is_compared_without_its_dress(text: str) -> None:
    """Quotes and weakness marks come and go with proxies."""
    assert plain_etag(text) == "abc"
    assert plain_etag(None) == ""


def test_patience_ends_without_progress() -> None:
    """So many failures in a row, and no more."""
    patience = Patience(Limits(), 3)
    assert [patience.failed() for _ in range(4)] == [True, True, True, False]


def test_progress_renews_patience() -> None:
    """Enough bytes make the count start again, together or in crumbs."""
    patience = Patience(Limits(), 1)
    for _ in range(10):
        assert patience.failed()
        patience.progressed(MIB // 2)
        patience.progressed(MIB // 2)


def test_crumbs_do_not_renew_patience() -> None:
    """A byte is not progress."""
    patience = Patience(Limits(), 2)
    results = []
    for _ in range(3):
        patience.progressed(1)
        results.append(patience.failed())
    assert results == [True, True, False]


def test_waits_double_up_to_a_limit_with_jitter() -> None:
    """Half to all of the time, so that clients do not come back together."""
    limits = Limits(first_wait=1.0, longest_wait=8.0)
    for _ in range(50):
        patience = Patience(limits, 100)
        for longest in (1.0, 2.0, 4.0, 8.0, 8.0, 8.0):
            patience.failed()
            assert longest / 2 <= patience.wait(None) <= longest


def test_server_s_hint_is_waited_for_in_full() -> None:
    """Never earlier than asked."""
    patience = Patience(Limits(), 3)
    patience.failed()
    assert 20.0 <= patience.wait(20.0) <= 21.0
