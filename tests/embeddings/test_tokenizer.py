"""The tokenizer that other programs load cuts texts as the analysis does."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rankwell.data.analysis import words
from rankwell.embeddings.tokenizer import UNKNOWN, tokenizer_json


def cut(texts: list[str]) -> list[list[str]]:
    """Returns what the tokenizer makes of texts, with all their words in its vocabulary."""
    vocabulary = sorted({word for text in texts for word in words(text)})
    tokenizer = Tokenizer.from_str(json.dumps(tokenizer_json(vocabulary)))
    return [encoding.tokens for encoding in tokenizer.encode_batch(texts)]


@pytest.mark.parametrize(
    "text",
    [
        "Newton's laws of motion, snake_case & 東京",
        "Straße L\u2019Été ΣΊΣΥΦΟΣ İstanbul naïve ½ x² Ⅷ \ufb01ne 'quoted' rock'n'roll 3.14",
        "हिन्दी में ภาษาไทย مُحَمَّد 한국어 ひらがな カタカナ \u3005\u4e00々",
        "\u0301abc e\u0301 a\u0301b don't 'tis O\u2019Neil\u2019s ''' _ __x__ [UNK]",
        "",
    ],
)
def test_words_of_many_scripts_are_cut_alike(text: str) -> None:
    assert cut([text]) == [words(text)]


# some Greek, Cyrillic and Cherokee letters fold in ways that lower case does not
FOLDS_ALIKE = st.characters(
    exclude_categories=["Cs", "Cn", "Co"], min_codepoint=1, max_codepoint=0x24F
) | st.sampled_from("東京ひ한हिन्मุ\u0301\u2019\u1e9e½²ﬁⅧ")


@given(st.text(FOLDS_ALIKE, max_size=30))
@example("\u00b5'\u00df'\u017f")
def test_any_text_of_latin_letters_and_signs_is_cut_alike(text: str) -> None:
    assert cut([text]) == [words(text)]


def test_a_word_that_was_not_trained_is_the_row_of_zeros() -> None:
    tokenizer = Tokenizer.from_str(json.dumps(tokenizer_json(["red", "blue"])))
    encoding = tokenizer.encode("Blue, unheard [UNK] red")
    assert encoding.ids == [1, 2, 2, 0]
    assert encoding.tokens[1] == UNKNOWN


@pytest.mark.parametrize("name", ["scifact", "cisi", "cacm", "cranfield", "vaswani"])
def test_the_development_collections_are_cut_alike(development_data: Path, name: str) -> None:
    lines = (development_data / name / "corpus.jsonl").read_text().splitlines()
    texts = [f"{d['title']}\n{d['text']}" for d in map(json.loads, lines[::4])]
    assert cut(texts) == [words(text) for text in texts]
