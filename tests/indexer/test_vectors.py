from pathlib import Path

import numpy as np
import pytest

from rankwell.data.errors import DamagedVersion, InputError
from rankwell.indexer.vectors import (
    STARTS_FILE,
    VECTORS_FILE,
    DocumentVectors,
    joined,
    open_vectors,
    save_vectors,
)

# row 0 has two vectors, row 1 one, row 2 three
PASSAGES = DocumentVectors.of(
    np.array([[1, 0], [0, 2], [3, 3], [0, 0], [-1, 5], [4, 0]], np.float32), np.array([2, 1, 3])
)
X, Y = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


def test_a_document_scores_by_its_best_passage() -> None:
    rows = np.array([2, 0, 1, 2])
    assert PASSAGES.scores(rows, X).tolist() == [4, 1, 3, 4]
    assert PASSAGES.scores(rows, Y).tolist() == [5, 2, 3, 5]
    assert PASSAGES.best(rows, X).tolist() == [2, 0, 0, 2]
    assert PASSAGES.best(rows, Y).tolist() == [1, 1, 0, 1]
    assert PASSAGES.rows_P.tolist() == [0, 0, 1, 2, 2, 2]
    assert PASSAGES.means(np.array([0, 2])).tolist() == [[0.5, 1], [1, pytest.approx(5 / 3)]]
    none = np.zeros(0, np.int64)
    assert [len(f(none, X)) for f in (PASSAGES.scores, PASSAGES.best)] == [0, 0]
    assert PASSAGES.means(none).shape == (0, 2)


def test_rows_are_taken_with_all_their_passages_and_joined() -> None:
    taken = PASSAGES.take(np.array([2, 0]))
    assert taken.vectors_PD.tolist() == [[0, 0], [-1, 5], [4, 0], [1, 0], [0, 2]]
    assert taken.starts_N.tolist() == [0, 3, 5]
    assert PASSAGES.take(np.array([False, True, False])).vectors_PD.tolist() == [[3, 3]]
    both = joined(taken, DocumentVectors.of(np.ones((1, 2))))
    assert (len(both), both.is_single, both.starts_N.tolist()) == (3, False, [0, 3, 5, 6])
    assert both.scores(np.arange(3), X).tolist() == [4, 1, 1]


def test_one_vector_a_row_needs_no_second_file(tmp_path: Path) -> None:
    vectors_ND = np.array([[1, 0.1], [-2, 65504]], np.float32)
    saved = save_vectors(tmp_path / "new" / "vectors", DocumentVectors.of(vectors_ND))
    assert (saved.vectors_PD.dtype, len(saved), saved.dimensions) == (np.float16, 2, 2)
    assert saved.is_single
    assert saved.vectors_PD.tobytes() == vectors_ND.astype(np.float16).tobytes()
    assert not saved.vectors_PD.flags.writeable
    assert [path.name for path in (tmp_path / "new" / "vectors").iterdir()] == [VECTORS_FILE]


def test_parts_are_written_one_behind_the_other(tmp_path: Path) -> None:
    save_vectors(tmp_path, PASSAGES, DocumentVectors.of(np.ones((1, 2))))
    opened = open_vectors(tmp_path)
    assert opened.starts_N.tolist() == [0, 2, 3, 6, 7]
    assert opened.vectors_PD[:6].tolist() == PASSAGES.vectors_PD.tolist()


def test_vectors_of_two_encoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vectors of 2 and 3 dimensions cannot share an index"):
        save_vectors(tmp_path, PASSAGES, DocumentVectors.of(np.ones((1, 3))))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e5])
def test_a_vector_that_is_not_finite_is_refused_with_its_row(tmp_path: Path, bad: float) -> None:
    last = DocumentVectors.of(np.array([[0, 1], [1, 1], [bad, 0]]), np.array([1, 2]))
    with pytest.raises(InputError, match="a vector that is not finite for row 4;"):
        save_vectors(tmp_path, PASSAGES, last)


@pytest.mark.parametrize("name", [VECTORS_FILE, STARTS_FILE])
@pytest.mark.parametrize("damage", ["empty", "cut", "something else"])
def test_damaged_files_are_a_damaged_version(tmp_path: Path, name: str, damage: str) -> None:
    save_vectors(tmp_path, PASSAGES)
    content = (tmp_path / name).read_bytes()
    rest = {"empty": b"", "cut": content[:-8], "something else": b"text " * 80}
    (tmp_path / name).write_bytes(rest[damage])
    with pytest.raises(DamagedVersion, match="cannot be opened"):
        open_vectors(tmp_path)


@pytest.mark.parametrize("starts", [[0, 2, 3], [1, 2, 6], [0, 3, 3, 6]])
def test_starts_of_other_vectors_are_a_damaged_version(tmp_path: Path, starts: list[int]) -> None:
    save_vectors(tmp_path, PASSAGES)
    np.save(tmp_path / STARTS_FILE, np.array(starts))
    with pytest.raises(DamagedVersion, match=r"starts.npy points outside of vectors.npy"):
        open_vectors(tmp_path)


def test_missing_vectors_are_a_damaged_version(tmp_path: Path) -> None:
    with pytest.raises(DamagedVersion, match="cannot be opened"):
        open_vectors(tmp_path)
