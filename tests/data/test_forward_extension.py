"""An extended forward index is, word for word and count for count, that of its live documents."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwell.data.analysis import Analyzer
from rankwell.data.config import AnalysisConfig
from rankwell.data.forward import NUM_FIELDS, ForwardIndex, open_forward_index
from rankwell.data.forward_builder import ForwardIndexBuilder
from rankwell.data.forward_extension import extend_forward_index
from rankwell.data.segmentation import segmented

Pair = tuple[str, str]

ENGLISH = Analyzer.configured(AnalysisConfig())
# the and of are stop words; wing and wings, flow and flows share a term
WORDS = ("the", "of", "wing", "wings", "flow", "flows", "lift", "naïve", "2026")

fields = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
documents = st.lists(st.tuples(fields, fields), max_size=6)


def built(folder: Path, pairs: list[Pair]) -> ForwardIndex:
    builder = ForwardIndexBuilder(folder)
    builder.add_segmented(segmented(pairs))
    return builder.finish(ENGLISH)


def extended(folder: Path, base: ForwardIndex, dead: list[int], pairs: list[Pair]) -> ForwardIndex:
    fresh = built(folder / "fresh", pairs)
    return extend_forward_index(folder, base, np.array(dead, np.int64), fresh)


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    return ((tmp_path / str(number)) for number in itertools.count())


def words_of(forward: ForwardIndex, row: int) -> list[list[str]]:
    surfaces = forward.vocabulary.surfaces
    return [[surfaces[t] for t in forward.tokens(row, field)] for field in range(NUM_FIELDS)]


def counts_of(forward: ForwardIndex) -> dict[str, int]:
    """Occurrences by surface form, of those that a live document has."""
    pairs = zip(forward.vocabulary.surfaces, forward.vocabulary.counts_V.tolist(), strict=True)
    return {surface: count for surface, count in pairs if count}


def terms_of(forward: ForwardIndex) -> dict[str, tuple[list[int], int]]:
    """Document frequencies and occurrences by term, of those that a live document has."""
    statistics = forward.statistics
    df_SG = statistics.document_frequencies_SG.tolist()
    cf_S = statistics.collection_frequencies_S.tolist()
    both = zip(forward.vocabulary.terms, df_SG, cf_S, strict=True)
    return {term: (df, cf) for term, df, cf in both if cf or any(df)}


def assert_same(forward: ForwardIndex, rows: list[int], whole: ForwardIndex) -> None:
    """Holds the rows that live against a build of nothing but them."""
    assert [words_of(forward, row) for row in rows] == [
        words_of(whole, row) for row in range(whole.num_rows)
    ]
    np.testing.assert_array_equal(forward.lengths_NF[rows], whole.lengths_NF)
    assert forward.statistics.num_docs == whole.statistics.num_docs == len(rows)
    totals_F = whole.statistics.total_lengths_F.tolist()
    assert forward.statistics.total_lengths_F.tolist() == totals_F
    assert counts_of(forward) == counts_of(whole)
    assert terms_of(forward) == terms_of(whole)
    vocabulary = forward.vocabulary
    for number, (surface, term) in enumerate(
        zip(vocabulary.surfaces, ENGLISH.terms(vocabulary.surfaces), strict=True)
    ):
        known = int(vocabulary.term_V[number])
        assert (vocabulary.terms[known] if known >= 0 else None) == term, surface
        if known >= 0:
            assert number in vocabulary.forms_of(known)


def test_a_small_extension_is_what_a_hand_counts(folders: Iterator[Path]) -> None:
    base = built(next(folders), [("The wing", "flow of flows"), ("", "lift wings")])
    assert base.vocabulary.surfaces == ["flow", "flows", "lift", "of", "the", "wing", "wings"]
    folder = next(folders)
    forward = extended(folder, base, [0], [("Drag", "wings of drag")])
    # drag is new and stands behind; what row 0 had is counted no more, but keeps its number
    assert forward.vocabulary.surfaces == [*base.vocabulary.surfaces, "drag"]
    assert forward.vocabulary.counts_V.tolist() == [0, 0, 1, 1, 0, 0, 2, 2]
    assert forward.vocabulary.terms == ["flow", "lift", "wing", "drag"]
    assert forward.vocabulary.term_V.tolist() == [0, 0, 1, -1, -1, 2, 2, 3]
    assert [forward.vocabulary.forms_of(term).tolist() for term in range(4)] == [
        [0, 1],
        [2],
        [5, 6],
        [7],
    ]
    assert forward.tokens_T.tolist() == [4, 5, 0, 3, 1, 2, 6, 7, 6, 3, 7]
    assert forward.offsets.tolist() == [0, 2, 5, 5, 7, 8, 11]
    assert forward.lengths_NF.tolist() == [[1, 2], [0, 2], [1, 2]]
    assert (forward.num_rows, forward.statistics.num_docs) == (3, 2)
    assert forward.statistics.total_lengths_F.tolist() == [1, 4]
    # anywhere, in the title, in the text: rows 1 and 2 have wing, row 2 has drag in both
    assert forward.statistics.document_frequencies_SG.tolist() == [
        [0, 0, 0],
        [1, 0, 1],
        [2, 0, 2],
        [1, 1, 1],
    ]
    assert forward.statistics.collection_frequencies_S.tolist() == [0, 1, 2, 2]
    opened = open_forward_index(folder)
    assert opened.tokens_T.tolist() == forward.tokens_T.tolist()


@pytest.mark.parametrize(
    ("base", "dead", "fresh"),
    [
        ([], [], []),
        ([], [], [("a wing", "")]),
        ([("", "")], [], [("", "")]),
        ([("wing", "lift")], [0], []),
        ([("wing", "lift")], [], []),
        ([("the", "of the")], [0], [("the", "the")]),
    ],
    ids=["nothing", "from nothing", "empty", "to nothing", "the same", "stop words alone"],
)
def test_extensions_at_the_edges(
    folders: Iterator[Path], base: list[Pair], dead: list[int], fresh: list[Pair]
) -> None:
    forward = extended(next(folders), built(next(folders), base), dead, fresh)
    rows = [row for row in range(len(base) + len(fresh)) if row not in dead]
    pairs = [*base, *fresh]
    assert_same(forward, rows, built(next(folders), [pairs[row] for row in rows]))


@settings(max_examples=25)
@given(base=documents, steps=st.lists(documents, min_size=1, max_size=3), data=st.data())
def test_extensions_in_a_row_equal_a_build_of_the_live_documents(
    base: list[Pair], steps: list[list[Pair]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as home:
        forward = built(Path(home, "base"), base)
        pairs, rows = list(base), list(range(len(base)))
        for number, fresh in enumerate(steps):
            dead = [row for row in rows if data.draw(st.booleans(), f"row {row} dies")]
            forward = extended(Path(home, str(number)), forward, dead, fresh)
            rows = [row for row in rows if row not in dead]
            rows += range(len(pairs), len(pairs) + len(fresh))
            pairs += fresh
            assert forward.num_rows == len(pairs)
            whole = built(Path(home, f"whole{number}"), [pairs[row] for row in rows])
            assert_same(forward, rows, whole)
