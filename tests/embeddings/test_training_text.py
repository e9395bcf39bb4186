"""The text of a training: which words get a vector, and what a span of sentences is."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from rankwell.data.config import WordsConfig
from rankwell.data.forward import ForwardIndex
from rankwell.embeddings.training_text import TrainingText

Forward = Callable[..., ForwardIndex]


def config(**settings: Any) -> WordsConfig:
    return WordsConfig(**settings)


def sentences_of(text: TrainingText) -> list[list[str]]:
    """Returns all sentences in the text's words, without those that have no vector."""
    tokens_T, bounds = text.span(0, text.num_sentences)
    return [
        [text.words[number] for number in tokens_T[a:b] if 0 <= number < len(text.words)]
        for a, b in zip(bounds, bounds[1:], strict=False)
    ]


def test_sentences_fields_and_documents_are_kept_apart(forward_of: Forward) -> None:
    forward = forward_of(("A title", "One here. Two there."), ("", "three"), ("", ""))
    assert sentences_of(TrainingText.of(forward, config())) == [
        ["a", "title"],
        ["one", "here"],
        ["two", "there"],
        ["three"],
    ]


def test_words_are_numbered_by_falling_frequency(forward_of: Forward) -> None:
    text = TrainingText.of(forward_of("b b b a a c"), config())
    assert text.words == ("b", "a", "c")
    assert text.counts_V.tolist() == [3, 2, 1]
    assert text.num_tokens == 6


def test_the_vocabulary_is_bounded(forward_of: Forward) -> None:
    text = TrainingText.of(forward_of("b b b a a c"), config(max_words=2))
    assert text.words == ("b", "a")
    assert sentences_of(text) == [["b", "b", "b", "a", "a"]]


@pytest.mark.parametrize(
    ("num_tokens", "min_count", "kept"),
    [
        (1_000, 5, 4),  # min(5, 1 + 0) = 1: the counts are 4, 3, 2, 1
        (99_999, 5, 4),
        (100_000, 5, 3),  # min(5, 1 + 1) = 2
        (250_000, 5, 2),
        (900_000, 5, 0),
        (900_000, 2, 3),
    ],
)
def test_rare_words_get_a_vector_in_small_collections_only(
    forward_of: Forward, num_tokens: int, min_count: int, kept: int
) -> None:
    forward: Any = forward_of("a a a a b b b c c d")
    object.__setattr__(forward, "tokens_T", range(num_tokens))  # as many as are said to be there
    assert len(TrainingText.of(forward, config(min_count=min_count)).words) == kept


def test_phrases_are_words_with_counts_of_their_own(forward_of: Forward) -> None:
    forward = forward_of("New York is new. New York is old. In New York, a new day is old. York")
    text = TrainingText.of(forward, config(phrases=0.5, min_count=2))
    counts = dict(zip(text.words, text.counts_V.tolist(), strict=True))
    # new occurs 5 times and york 4, together 3 times, which leaves 2 and 1
    assert {word: counts[word] for word in ("new_york", "new", "york")} == {
        "new_york": 3,
        "new": 2,
        "york": 1,
    }
    assert sentences_of(text)[0] == ["new_york", "is", "new"]
    assert sentences_of(text)[-1] == ["york"]
    assert list(text.counts_V) == sorted(text.counts_V, reverse=True)


def test_without_phrases_tokens_are_the_forward_indexs_own(forward_of: Forward) -> None:
    forward = forward_of("some words", "of two documents")
    tokens_T, bounds = TrainingText.of(forward, config()).span(1, 2)
    assert tokens_T.tolist() == forward.document(1).tolist()
    assert bounds.tolist() == [0, 3]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_spans_are_whole_sentences_and_all_of_them(forward_of: Forward, size: int) -> None:
    text = TrainingText.of(
        forward_of("One two. Three. Four five six seven. Eight", "nine"), config()
    )
    spans = text.spans(size)
    assert [first for first, _ in spans] == [0, *(last for _, last in spans[:-1])]
    assert spans[-1][1] == text.num_sentences == 5
    assert len(spans) == {1: 5, 3: 3, 1000: 1}[size]


def test_no_documents_are_no_spans(forward_of: Forward) -> None:
    for documents in ([], [""]):
        text = TrainingText.of(forward_of(*documents), config(phrases=0.5))
        assert (text.words, text.spans(10), text.num_sentences) == ((), [], 0)


@pytest.mark.parametrize("phrases", [0.0, 0.6])
def test_a_text_travels_to_another_process_by_the_names_of_its_files(
    forward_of: Forward, phrases: float
) -> None:
    text = TrainingText.of(
        forward_of("New York is new. " * 400), config(phrases=phrases, min_count=2)
    )
    sent = pickle.dumps(text)
    assert len(sent) < 2500  # 1600 tokens of 4 bytes stay where they are
    assert sentences_of(pickle.loads(sent)) == sentences_of(text)
