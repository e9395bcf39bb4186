"""Queries made of documents."""

from collections.abc import Callable

import numpy as np
import pytest

from rankwell.data.forward import ForwardIndex
from rankwell.data.records import Document
from rankwell.embeddings.finetuning import Example
from rankwell.embeddings.generated import generated_example

TITLE, TEXT = "Drag of wings", "The wing has low drag at first. It has a high drag in heat later."


@pytest.fixture
def examples(forward_of: Callable[..., ForwardIndex]) -> list[Example]:
    """Forty queries made of the second of two documents."""
    forward = forward_of(("", "the wing is low"), (TITLE, TEXT))
    document, rng = Document("d", TEXT, TITLE), np.random.default_rng(0)
    made = [generated_example(document, 1, forward, rng) for _ in range(40)]
    assert all(example is not None and example.positives == (1,) for example in made)
    return [example for example in made if example is not None]


def test_a_title_asks_for_the_text_below_it(examples: list[Example]) -> None:
    [found] = {(e.query, e.answer) for e in examples if e.query == TITLE}
    assert found == (TITLE, f"\n{TEXT}")


def test_a_sentence_asks_for_the_rest_and_half_the_time_for_all(examples: list[Example]) -> None:
    first, second = TEXT.split(" It ")[0], f"It {TEXT.split(' It ')[1]}"
    answers = {e.answer for e in examples if e.query == first}
    assert answers == {f"{TITLE}\n{TEXT}", f"{TITLE}\n{second}"}


def test_rare_words_in_their_order_ask_for_the_whole(examples: list[Example]) -> None:
    asked = [e.query.split() for e in examples if not e.answer]
    assert asked
    whole = f"{TITLE} {TEXT}".lower().replace(".", "").split()
    for words in asked:
        assert 3 <= len(words) <= 7
        places = [whole.index(word) for word in words]
        assert places == sorted(places)


def test_a_document_without_words_asks_nothing(forward_of: Callable[..., ForwardIndex]) -> None:
    empty = Document("d", "")
    assert generated_example(empty, 0, forward_of("", "x"), np.random.default_rng(0)) is None
