"""Snippets: safe, faithful, and showing why a document was found."""

import html
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rankwell.data.analysis import Analyzer, words
from rankwell.data.config import AnalysisConfig
from rankwell.data.word_places import word_hashes
from rankwell.ranker.snippets import MAX_CHARACTERS, SNIPPET_WORDS, Marks, snippet
from rankwell.ranker.terms import resolve

ANALYZER = Analyzer.configured(AnalysisConfig())


def marks_of(text: str, query: str) -> Marks:
    """What `Marks.of` returns where a vocabulary has the words of the text and no others."""
    terms = list(ANALYZER.query(query).terms)
    forms = dict.fromkeys(words(text))
    known = [(form, term) for form, term in zip(forms, ANALYZER.terms(list(forms)), strict=True)]
    found = [(form, terms.index(term)) for form, term in known if term in terms]
    hashes_S = word_hashes([form for form, _ in found])
    order = np.argsort(hashes_S)
    return Marks(hashes_S[order], np.array([place for _, place in found], np.int64)[order])


def shown(text: str, query: str, passage: tuple[int, int] | None = None) -> str:
    return snippet(text, marks_of(text, query), passage)


def plain(markup: str) -> str:
    return html.unescape(re.sub("</?mark>", "", markup))


def test_matching_words_are_marked_by_their_term():
    found = shown("The Wings of a wing; winged, swinging.", "wing")
    # the stem of winged is wing
    assert found == (
        "The <mark>Wings</mark> of a <mark>wing</mark>; <mark>winged</mark>, swinging."
    )


def test_stop_words_of_the_query_are_not_marked():
    assert shown("the lift of the wing", "the lift") == "the <mark>lift</mark> of the wing"


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "<mark>",
        '"><img src=x onerror="a()">',
        "&lt;b&gt; a & b",
        "'x'",
    ],
)
def test_markup_of_documents_and_queries_is_escaped(attack):
    for text, query in ((f"see {attack} there", attack), (attack, "there"), (attack * 30, attack)):
        found = shown(text, query)
        rest = re.sub("<mark>[^<>\"']*</mark>", "", found)
        assert not re.search("[<>\"']", rest)
        assert plain(found).strip(" …") in text


@pytest.mark.parametrize(("text", "expected"), [("", ""), ("  ", "  "), ("!? <", "!? &lt;")])
def test_a_text_without_words_is_shown_as_it_is(text, expected):
    assert shown(text, "wing") == expected


def test_a_short_text_is_shown_whole_and_a_long_one_with_ellipses():
    text = " ".join(f"w{i}" for i in range(SNIPPET_WORDS))
    assert shown(text, "zeppelin") == text
    assert shown(f"{text} more", "zeppelin") == f"{text} …"
    found = shown(f"{text} {text} wing {text}", "wing")
    assert found.startswith("… w")
    assert found.endswith(" …")
    assert "<mark>wing</mark>" in found
    assert len(plain(found).strip("… ").split()) == SNIPPET_WORDS


def test_the_window_has_most_distinct_terms_rather_than_most_matches():
    filler = "x " * 60
    text = f"lift lift lift lift {filler} wing lift {filler} drag drag"
    assert "<mark>wing</mark> <mark>lift</mark>" in shown(text, "wing lift drag")


def test_marks_are_all_forms_of_the_querys_terms_that_the_documents_have(forward_of):
    forward = forward_of(("Wings", "a wing; winged flight, Überflug"))
    marks = Marks.of(
        resolve(ANALYZER.query("wing überflug the zeppelin"), forward), forward.vocabulary
    )
    found = snippet("Winged: the wings of an ÜBERFLUG, and winging", marks)
    # no document of these has winging, and so no document that is found can show it
    assert found == (
        "<mark>Winged</mark>: the <mark>wings</mark> of an <mark>ÜBERFLUG</mark>, and winging"
    )
    assert sorted(marks.terms_S) == [0, 0, 0, 1]


def test_of_a_passage_the_window_lies_in_it_and_ellipses_say_that_there_is_more():
    text = "wing one. A wing two. wing three"
    assert shown(text, "wing", (10, 21)) == "… A <mark>wing</mark> two. …"
    assert shown(text, "wing", (0, 9)) == "<mark>wing</mark> one. …"
    assert shown(text, "wing", (22, len(text))) == "… <mark>wing</mark> three"


@pytest.mark.parametrize("apart", [2, 20, 33, 36, SNIPPET_WORDS - 1])
def test_two_terms_that_fit_into_a_window_are_both_shown(apart):
    text = f"{'x ' * 50} wing {'x ' * (apart - 1)} drag {'x ' * 50}"
    assert set(re.findall("<mark>(.*?)</mark>", shown(text, "wing drag"))) == {"wing", "drag"}


def test_of_a_huge_text_only_the_start_is_looked_at():
    found = shown("x " * 500_000 + "wing", "wing")
    assert "wing" not in found
    assert shown("x" * MAX_CHARACTERS + " wing", "wing").endswith("x …")


@pytest.mark.parametrize(
    "text", ["Straße", "ﬁne wing", "東京タワー", "שלום עולם", "élan naïve", "ﷺ x", "41⅝ in"]
)
def test_words_whose_normal_form_has_another_length_are_marked_whole(text):
    assert plain(shown(text, text)) == text
    assert "<mark>" in shown(text, text)


TEXTS = st.text(
    st.one_of(
        st.sampled_from(" \n.<>&;'\"_-\u2019…½㌔ﬁßİ東é\u0301\u202eאab"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=300,
)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, query=TEXTS)
@example(text="½ cup", query="cup")
@example(text="a <b> & " * 60 + "ﬁn wing", query="wing")
def test_without_marks_a_snippet_is_a_part_of_the_text(text, query):
    found = shown(text, query)
    assert re.sub("</?mark>", "", found).count("<") == 0
    bare = plain(found)
    candidates = {bare, bare.removeprefix("… "), bare.removesuffix(" …")}
    candidates.add(bare.removeprefix("… ").removesuffix(" …"))
    assert any(candidate in text for candidate in candidates)
