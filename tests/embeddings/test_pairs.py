"""Pairs: what belongs together, and what is no negative of what."""

from collections.abc import Callable

import numpy as np
import pytest

from rankwell.data.forward import ForwardIndex
from rankwell.embeddings import pairs as pairs_module
from rankwell.embeddings.pairs import Batch, JudgedQuery, Pairs, head, trainable_rows

Forward = Callable[..., ForwardIndex]

TITLED = ("two words", "c d e f g h i j")
UNTITLED = ("", "k l m n o p q r s t u v")
DOCUMENTS = [TITLED, ("", "too short for this"), UNTITLED, ("Title", "w x y z")]


def pairs_of(forward: ForwardIndex, near: object = None, judged: object = ()) -> Pairs:
    every = np.arange(forward.vocabulary.num_surfaces, dtype=np.int32)
    near_NK = np.full((forward.num_rows, 2), -1) if near is None else np.array(near)
    return Pairs(forward, every, near_NK, judged)  # type: ignore[arg-type]


def text(forward: ForwardIndex, words: object) -> str:
    return " ".join(forward.vocabulary.surfaces[word] for word in words)  # type: ignore[attr-defined]


def test_documents_of_six_words_and_more_are_learnt_from(forward_of: Forward) -> None:
    forward = forward_of(*DOCUMENTS)
    known = np.zeros(forward.vocabulary.num_surfaces, np.int32)
    assert trainable_rows(forward, known).tolist() == [0, 2]
    assert trainable_rows(forward, known - 1).tolist() == []


def test_a_title_of_one_word_is_replaced_by_the_first_words(forward_of: Forward) -> None:
    forward = forward_of(*DOCUMENTS)
    heads = [text(forward, head(forward, row)) for row in range(4)]
    assert heads == ["two words", "too short for this", "k l m n o p q r s t", "title w x y z"]


def test_a_title_goes_with_its_body_and_a_passage_with_what_is_around_it(
    forward_of: Forward,
) -> None:
    forward = forward_of(*DOCUMENTS)
    pairs, rng = pairs_of(forward), np.random.default_rng(0)
    drawn = [pairs.pair(0, rng) for _ in range(200)]
    as_text = {(text(forward, query), text(forward, document)) for query, document in drawn}
    assert TITLED in as_text
    assert 60 < sum(text(forward, query) == "two words" for query, _ in drawn) < 140
    for query, document in [pairs.pair(2, rng) for _ in range(50)]:
        passage, rest = text(forward, query), text(forward, document)
        assert passage in UNTITLED[1]
        assert 5 <= len(query) <= 6  # at most half of the document
        assert rest in (UNTITLED[1], UNTITLED[1].replace(passage, "").strip().replace("  ", " "))
    kept = sum(len(document) == 12 for _, document in [pairs.pair(2, rng) for _ in range(200)])
    assert 60 < kept < 140


def test_long_documents_are_cut_around_the_passage(
    forward_of: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs_module, "CONTEXT_WORDS", 8)
    forward = forward_of(("", " ".join(f"w{i}" for i in range(100))))
    pairs, rng = pairs_of(forward), np.random.default_rng(0)
    for query, document in [pairs.pair(0, rng) for _ in range(20)]:
        assert len(document) <= len(query) + 8
        numbers = [int(word[1:]) for word in text(forward, query).split()]
        around = [int(word[1:]) for word in text(forward, document).split()]
        assert min(numbers) - 4 <= min(around) <= max(around) <= max(numbers) + 4


def test_words_without_a_vector_are_left_out(forward_of: Forward) -> None:
    forward = forward_of(TITLED)
    word_of_V = np.full(forward.vocabulary.num_surfaces, -1, np.int32)
    word_of_V[forward.vocabulary.surface_id("words")] = 7
    query, document = Pairs(forward, word_of_V, np.full((1, 1), -1)).pair(
        0, np.random.default_rng(3)
    )
    assert {*query.tolist(), *document.tolist()} == {7}


def test_the_same_row_and_the_other_relevant_documents_are_no_negatives(
    forward_of: Forward,
) -> None:
    forward = forward_of(*DOCUMENTS)
    judged = JudgedQuery(np.array([5]), np.array([1, 2]), np.array([3]))
    near = [[2, -1], [-1, -1], [0, 0], [-1, -1]]
    batch = pairs_of(forward, near, [judged]).batch(np.array([0, 2]), 1, np.random.default_rng(0))
    assert isinstance(batch, Batch)
    assert batch.queries[2].tolist() == [5]
    # the documents are rows 0, 2, then 1 or 2 for the judged query, then the hard 2, 0 and 3
    assert [text(forward, d) for d in batch.documents[3:]] == [
        UNTITLED[1],
        " ".join(TITLED),
        "title w x y z",
    ]
    relevant = text(forward, batch.documents[2]) == UNTITLED[1]
    assert batch.masked_BC.tolist() == [
        [False, False, False, False, True, False],
        [False, False, relevant, True, False, False],
        [False, True, False, True, False, False],
    ]


def test_a_batch_without_near_documents_has_its_own_alone(forward_of: Forward) -> None:
    forward = forward_of(*DOCUMENTS)
    batch = pairs_of(forward).batch(np.array([0, 2]), 0, np.random.default_rng(0))
    assert len(batch.queries) == len(batch.documents) == 2
    assert not batch.masked_BC.any()
