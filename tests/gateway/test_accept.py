"""RFC 9110, section 12.5.1, in tables and against a plain reading of its rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accept import read
from gateway.http import GRAPHQL, JSON, negotiate
from gateway.refusals import Refused
from subscriptions.sse import EVENT_STREAM

OFFERS = (JSON, GRAPHQL)


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        # wildcards: what older clients know
        ("*/*", JSON),
        ("application/*", JSON),
        ("text/html, */*;q=0.1", JSON),
        ("text/*", None),
        ("text/html, image/png", None),
        ("", None),
        # weights
        (f"{GRAPHQL}, {JSON}", GRAPHQL),
        (f"{JSON}, {GRAPHQL}", JSON),
        (f"{JSON};q=0.8, {GRAPHQL};q=0.9", GRAPHQL),
        (f"{JSON};q=0.001, {GRAPHQL};q=0", JSON),
        (f"{JSON};q=0, {GRAPHQL};q=0.0", None),
        (f"{JSON};Q=0.1 , {GRAPHQL.upper()} ; q=0.2", GRAPHQL),
        (f"{JSON};q=.5, {GRAPHQL};q=0.4", JSON),
        (f"{JSON};q=7, {GRAPHQL};q=1", JSON),
        # the most specific range counts, wherever it stands
        (f"{JSON};q=0, */*", GRAPHQL),
        (f"*/*, {JSON};q=0", GRAPHQL),
        (f"*/*;q=0.5, {JSON};q=0.1", GRAPHQL),
        (f"*/*;q=0.5, {GRAPHQL};q=0.1", JSON),
        ("application/*;q=0, */*", None),
        (f"application/*;q=0, {GRAPHQL};q=0.1", GRAPHQL),
        # equals: what was named first
        (f"*/*, {GRAPHQL}", JSON),
        (f"{GRAPHQL}, */*", GRAPHQL),
        # the charset of what we send is UTF-8
        (f"{GRAPHQL}; charset=utf-8, text/html", GRAPHQL),
        (f'{GRAPHQL};charset="UTF-8"', GRAPHQL),
        (f"{JSON};charset=iso-8859-1", None),
        (f"{GRAPHQL};charset=gbk, {JSON};q=0.1", JSON),
        (f"{JSON};charset=utf-8;q=0.9, {JSON};q=0.1, {GRAPHQL};q=0.5", JSON),
        # other parameters
        (f"{JSON};odata=verbose", JSON),
        (f"{JSON};profile=x;q=0.1, {JSON};q=0.9, {GRAPHQL};q=0.5", JSON),
        (f"multipart/mixed;deferSpec=20220824, {JSON}", JSON),
        (f'{JSON};title="a, b; q=0";q=0.5, {GRAPHQL};q=0.4', JSON),
        (f'{JSON};title="a \\" {GRAPHQL}, b";q=0.2, {GRAPHQL};q=0.3', GRAPHQL),
        # malformed
        (f"nonsense, {GRAPHQL}", GRAPHQL),
        (f"*, {GRAPHQL};q=0.2", GRAPHQL),
        (f"*/json, {GRAPHQL}", GRAPHQL),
        (f", ,;q=1,/,{GRAPHQL};;", GRAPHQL),
        (f"{JSON};q=nan, {GRAPHQL};q=0.9", JSON),
        (f"{JSON};q=, {GRAPHQL};q=0.9", JSON),
        (f"{JSON};q=-1, {GRAPHQL};q=0.9", JSON),
        (f"{JSON};q=0_1, {GRAPHQL};q=0.9", JSON),
        (f"{JSON};q=٠, {GRAPHQL};q=0.9", JSON),
        (f'{GRAPHQL};q=0.5, {JSON};x="never closed', JSON),
    ],
)
def test_what_is_answered_with(header: str, chosen: str | None) -> None:
    assert read(header).best(OFFERS) == chosen
    if chosen is None:
        with pytest.raises(Refused) as caught:
            negotiate([header])
        assert caught.value.http_status == 406
    else:
        assert negotiate([header]) == chosen


def test_several_headers_are_one_list_and_none_is_an_older_client() -> None:
    assert negotiate([f"{JSON};q=0.5", GRAPHQL]) == GRAPHQL
    assert negotiate([]) == JSON


@pytest.mark.parametrize(
    ("header", "favourite", "named"),
    [
        (EVENT_STREAM, EVENT_STREAM, True),
        (f"{EVENT_STREAM}, */*", EVENT_STREAM, True),
        (f"*/*, {EVENT_STREAM}", "*/*", True),
        (f"{JSON}, {EVENT_STREAM}", JSON, True),
        (f"{JSON};q=0.5, TEXT/Event-Stream;q=0.6", EVENT_STREAM, True),
        (f"{EVENT_STREAM};q=0, {JSON};q=0.1", JSON, False),
        (f"nonsense, {EVENT_STREAM};q=0.2", EVENT_STREAM, True),
        ("*/*", "*/*", False),
        ("text/*", "text/*", False),
        ("", None, False),
    ],
)
def test_streams_are_for_those_who_name_them(header: str, favourite: str | None, named: bool) -> None:
    assert read(header).favourite == favourite
    assert read(header).names(EVENT_STREAM) == named


RANGES = st.tuples(
    st.sampled_from(["*/*", "application/*", "text/*", JSON, GRAPHQL, EVENT_STREAM, "text/html"]),
    st.integers(0, 1000),
)


def by_the_book(ranges: list[tuple[str, int]], offer: str) -> tuple[int, int]:
    """``(weight in thousandths, place of the range that gives it)``"""
    for wanted in (offer, f"{offer.split('/')[0]}/*", "*/*"):
        for place, (name, weight) in enumerate(ranges):
            if name == wanted:
                return weight, place
    return 0, 0


@given(st.lists(RANGES, max_size=6), st.data())
def test_it_is_what_the_rfc_says(ranges: list[tuple[str, int]], data: st.DataObject) -> None:
    gap = st.sampled_from(["", " ", "\t", "  "])
    header = ",".join(
        f"{data.draw(gap)}{name}{data.draw(gap)};{data.draw(gap)}q={weight / 1000:.3f}{data.draw(gap)}"
        for name, weight in ranges
    )
    weights = {offer: by_the_book(ranges, offer) for offer in OFFERS}
    most = max(weight for weight, _ in weights.values())
    first = [offer for offer in sorted(OFFERS, key=lambda o: weights[o][1]) if weights[offer][0] == most]
    assert read(header).best(OFFERS) == (first[0] if most else None)


@given(st.text(st.characters(max_codepoint=255)) | st.text(st.sampled_from('ab*/,;q=01."\\ ')))
def test_whatever_comes_is_read(header: str) -> None:
    accept = read(header)
    assert accept.best(OFFERS) in (*OFFERS, None)
    assert (accept.favourite is None) == all(each.quality == 0 for each in accept.ranges)
    assert all(0 <= each.quality <= 1 for each in accept.ranges)


@pytest.mark.parametrize("piece", ['"', '"\\', '\\"', ',"', ";", "a/b;", 'a/b;x="', "*/*,"])
def test_long_headers_are_read_in_one_go(piece: str) -> None:
    """64 kB, which is what servers let through: reading that again from each of its quotes would take minutes."""
    read(piece * (65536 // len(piece)))
