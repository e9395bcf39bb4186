import pytest

from rankwell.ranker.suggestions import Speller


@pytest.fixture
def speller(forward_of):
    text = "supersonic flow " * 300 + "supersonik wing " * 2 + "flown " * 5
    return Speller(forward_of(("", text)).vocabulary)


@pytest.mark.parametrize(
    ("query", "corrected"),
    [
        ("supersonic flow", None),
        ("Supersnic flow, please", "supersonic flow, please"),
        ('"supersnic flow" -wing', '"supersonic flow" -wing'),
        ("supersonik wing", "supersonic wing"),  # it occurs, and is a slip beside the other
        ("flown", None),
        ("xylophone", None),
        ("fl0w 1234567", None),
        ("", None),
        ("flwo supersnic flwo", "flow supersonic flow"),
    ],
)
def test_unknown_words_become_the_nearest_known_ones(speller, query, corrected):
    assert speller.corrected(query) == corrected


def test_words_known_elsewhere_stay_and_words_not_allowed_are_not_shown(speller):
    assert speller.corrected("supersnic", known=lambda word: word == "supersnic") is None
    assert speller.corrected("supersnic", allowed=lambda word: False) is None


def test_at_most_four_words_are_replaced(speller):
    assert speller.corrected("flwo " * 6).split().count("flow") == 4
