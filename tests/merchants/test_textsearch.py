"""Text search: any piece of a name finds it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.textsearch import index, query, terms

NAMES = st.text(
    st.one_of(
        st.sampled_from("川味面馆牛肉火锅麻辣烫の寿司ラーメン"),
        st.sampled_from("abcXYZ é19"),
        st.sampled_from(" 　·&-'()（）ＡｂＣ１２ﬁßİ\u0301\u3099🍜👨‍👩‍👧"),
        st.characters(codec="utf-8"),
    ),
    max_size=30,
)


def finds(text: str, names: list[str]) -> bool:
    """What the SQL of discovery asks, on one store."""
    entry, wanted = index(names), query(text)
    by_index = set(wanted.grams) <= set(entry.grams)
    by_text = all(term in entry.text for term in wanted.terms)
    return bool(wanted.terms) and by_index and by_text


@given(st.lists(NAMES, min_size=1, max_size=4), st.data())
def test_any_piece_of_a_name_finds_it(names: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(names))
    start = data.draw(st.integers(0, len(name)))
    piece = name[start : data.draw(st.integers(start, len(name)))]
    assert finds(piece, names) == bool(terms(piece))


@given(st.lists(NAMES, max_size=3), NAMES)
def test_the_index_never_hides_what_the_text_holds(names: list[str], text: str) -> None:
    entry, wanted = index(names), query(text)
    if all(term in entry.text for term in wanted.terms):
        assert set(wanted.grams) <= set(entry.grams)


@given(NAMES)
def test_terms_have_nothing_that_is_special_to_like(text: str) -> None:
    assert not set("%_\\ \n\0") & set("".join(terms(text)))


def test_examples() -> None:
    assert finds("面", ["张记牛肉面"])
    assert finds("川味 noodle", ["Old Town NOODLES 川味馆"])
    assert finds("川味noodle", ["川味 Noodle Bar"])
    assert finds("ＫＦＣ", ["kfc（西湖店）"])
    assert finds("kfc西湖", ["KFC（西湖店）"])
    assert finds("张记牛肉", ["张记·牛肉面"])
    assert finds("cafe", ["Café Zoë"])
    assert finds("odl", ["noodle"])
    assert finds("🍜", ["🍜 house"])
    assert not finds("牛面", ["牛肉面"])
    assert not finds("面条 牛肉", ["牛肉面"])
    assert not finds("...", ["牛肉面"])
    assert not finds("馆牛", ["面馆", "牛肉"])
