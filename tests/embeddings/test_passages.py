"""Passages of long texts: limits, overlap, and where they begin and end."""

import pytest

from rankwell.data.analysis import sentence_starts
from rankwell.embeddings.passages import passage_spans


def tokens_of(text: str) -> list[tuple[int, int]]:
    """Each word is a token."""
    spans, at = [], 0
    for word in text.split(" "):
        spans.append((at, at + len(word)))
        at += len(word) + 1
    return spans


def passages(text: str, num_tokens: int, overlap: int) -> list[str]:
    tokens = tokens_of(text)
    spans = passage_spans(tokens, sentence_starts(text), num_tokens, overlap)
    return [text[tokens[start][0] : tokens[end - 1][1]] for start, end in spans]


def test_a_text_that_fits_is_one_passage() -> None:
    assert passages("one two three", 3, 1) == ["one two three"]
    assert passage_spans([], [0], 8, 1) == [(0, 0)]


def test_passages_end_and_begin_with_sentences_where_they_can() -> None:
    text = "One two three. Four five six. Seven eight. Nine ten eleven."
    assert passages(text, 8, 3) == [
        "One two three. Four five six. Seven eight.",
        "Four five six. Seven eight. Nine ten eleven.",
    ]


def test_without_an_overlap_no_word_is_read_twice() -> None:
    text = "One two three. Four five six. Seven eight nine. Ten eleven twelve."
    assert passages(text, 6, 0) == [
        "One two three. Four five six.",
        "Seven eight nine. Ten eleven twelve.",
    ]


def test_a_long_sentence_is_cut_between_words_and_overlaps() -> None:
    assert passages("a b c d e f g h i j", 6, 2) == ["a b c d e f", "e f g h i j"]


def test_the_last_passage_reaches_back_so_that_no_scrap_is_left() -> None:
    assert passages("a b c d e f g", 6, 1) == ["a b c d e f", "b c d e f g"]


def test_parts_of_a_word_stay_together() -> None:
    # three words of three parts each
    tokens = [(4 * word + part, 4 * word + part + 1) for word in range(3) for part in range(3)]
    assert passage_spans(tokens, [0], 7, 0) == [(0, 6), (3, 9)]


@pytest.mark.parametrize("num_tokens", [5, 9, 40])
@pytest.mark.parametrize("overlap", [0, 1, 2])
def test_every_token_is_in_a_passage_and_none_is_too_long(num_tokens: int, overlap: int) -> None:
    text = ("Now a b. " * 7 + "x " * 23 + "End. ").strip()
    tokens = tokens_of(text)
    spans = passage_spans(tokens, sentence_starts(text), num_tokens, overlap)
    assert {token for start, end in spans for token in range(start, end)} == set(range(len(tokens)))
    assert all(0 < end - start <= num_tokens for start, end in spans)
    assert all(a < b for (a, _), (b, _) in zip(spans, spans[1:], strict=False))
