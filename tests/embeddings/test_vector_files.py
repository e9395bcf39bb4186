"""Files of vectors are read as word2vec, GloVe and fastText write them, or refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from rankwell.data.errors import InputError
from rankwell.embeddings.vector_files import read_start, write_binary, write_text
from rankwell.embeddings.word_vectors import WordVectors

VECTORS = WordVectors(
    ("red", "new_york", "東京"),
    np.array([3, 2, 1]),
    np.array([[1, -2.5], [1 / 3, 1e-7], [0, 3e8]], np.float32),
)


def test_the_text_form_is_word2vecs(tmp_path: Path) -> None:
    write_text(VECTORS, tmp_path / "v.txt")
    assert (tmp_path / "v.txt").read_text(encoding="utf-8") == (
        "3 2\nred 1 -2.5\nnew_york 0.333333343 1.00000001e-07\n東京 0 300000000\n"
    )


def test_the_binary_form_is_word2vecs(tmp_path: Path) -> None:
    write_binary(VECTORS, tmp_path / "v.bin")
    expected = b"3 2\nred " + np.array([1, -2.5], "<f4").tobytes() + b"\n"
    assert (tmp_path / "v.bin").read_bytes().startswith(expected)


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    write_text(VECTORS, tmp_path / "v.txt")
    places, vectors = read_start(tmp_path / "v.txt", ("blue", "東京", "red", "new_york"), 2)
    assert places.tolist() == [2, 3, 1]
    assert vectors.tobytes() == VECTORS.vectors_VD.tobytes()


@pytest.mark.parametrize("head", ["", "4 2\n"])  # GloVe has none; word2vec and fastText do
@pytest.mark.parametrize("packed", [True, False])
def test_words_are_found_in_other_cases_and_the_first_of_several_wins(
    tmp_path: Path, head: str, packed: bool
) -> None:
    path = tmp_path / ("v.txt.gz" if packed else "v.vec")
    content = (head + "Red 1 2\nred 3 4\n<unk> 5 6\nBLUE 7 8 \n").encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    places, vectors = read_start(path, ("blue", "red"), 2)
    assert dict(zip(places.tolist(), vectors.tolist(), strict=True)) == {1: [3, 4], 0: [7, 8]}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"2 2\nred 1 2\n", "promises 2 words and has 1; it is cut off"),
        (b"1 2\nred 1 2\nblue 1 2\n", "promises 1 words and has 2"),
        (b"2 2\nred 1 2\nblue 1\n", "line 3 has 1 numbers where 2 belong; it may be cut off"),
        (b"red 1 2\nblue 1 2 3\n", "line 2 has 3 numbers where 2 belong"),
        (b"2 3\nred 1 2 3\n", r"have 3 dimensions, \[words\] dimensions is 2; set it to 3"),
        (b"red 1 2 3\n", r"have 3 dimensions, \[words\] dimensions is 2"),
        (b"red 1 x\n", "is no file of word vectors in text form"),
        (b"red 1 nan\n", "not finite"),
        (b"green 1 2\n", "has none of the collection's 2 words"),
        (b"", "has none of the collection's 2 words"),
        (b"\x00\xff\x00 \x01", "dimensions is 2|no file of word vectors"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_start(tmp_path / "v.txt", ("red", "blue"), 2)


def test_a_missing_and_a_cut_off_packed_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\[words\] start names .*v.txt, which does not exist"):
        read_start(tmp_path / "v.txt", ("red",), 2)
    (tmp_path / "v.gz").write_bytes(gzip.compress(b"red 1 2\n" * 1000)[:-20])
    with pytest.raises(InputError, match="cut off"):
        read_start(tmp_path / "v.gz", ("red",), 2)
