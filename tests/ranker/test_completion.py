import numpy as np
import pytest

from rankwell.data.records import Document
from rankwell.ranker.completion import Titles

TITLES = (
    "Heat transfer",
    "Heat",
    "The heat of steam",
    "Cheat",
    "HEAT pump",
    "",
    "Heat",
    "Überhitze",
)


@pytest.fixture(scope="module")
def documents(documents_of):
    return documents_of(*(Document(str(i), "", title) for i, title in enumerate(TITLES)))


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("heat", ["Heat", "HEAT pump", "Heat transfer", "The heat of steam"]),
        ("  Heat  T", ["Heat transfer"]),
        ("heat ", ["HEAT pump", "Heat transfer", "The heat of steam"]),
        ("über", ["Überhitze"]),
        ("a.", []),
        ("", []),
        ("  ", []),
    ],
)
def test_titles_that_begin_so_come_first_then_those_with_such_a_word(documents, typed, found):
    assert Titles().complete(typed, documents, None, 8) == found


def test_only_rows_that_may_be_shown_are_and_only_so_many(documents):
    mask_N = np.zeros(len(TITLES), bool)
    mask_N[[0, 2]] = True
    titles = Titles()
    assert titles.complete("heat", documents, mask_N, 8) == ["Heat transfer", "The heat of steam"]
    assert titles.complete("heat", documents, None, 1) == ["Heat"]


def test_other_documents_are_noticed(documents, documents_of):
    titles = Titles()
    assert titles.complete("heat p", documents, None, 8) == ["HEAT pump"]
    assert titles.complete("heat p", documents_of(Document("1", "", "Heat pipe")), None, 8) == [
        "Heat pipe"
    ]
