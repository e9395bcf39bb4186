import numpy as np

from rankwell.ranker.occurrences import Occurrences

DOCUMENTS = (
    ("wind tunnel", "a wing in the tunnel"),
    ("wings", "the tunnels of a mole"),
    ("wind", "tunnel"),
    ("", ""),
    ("the end", "of the wing of the wing tip"),
)


def rows(mask_N):
    return np.flatnonzero(mask_N).tolist()


def test_terms_are_found_in_all_their_forms(forward_of, analyzer):
    forward = forward_of(*DOCUMENTS)
    occurrences = Occurrences(forward, analyzer)
    ids = [forward.vocabulary.term_id(term) for term in ("wing", "mole", "airship")]
    assert rows(occurrences.any_of(ids[:1])) == [0, 1, 4]
    assert rows(occurrences.any_of(ids)) == [0, 1, 4]
    assert rows(occurrences.any_of([ids[2]])) == []
    assert rows(occurrences.any_of([])) == []


def test_a_phrase_is_to_the_letter_and_inside_one_field(forward_of, analyzer):
    occurrences = Occurrences(forward_of(*DOCUMENTS), analyzer)
    assert rows(occurrences.phrase(["wind", "tunnel"])) == [0]  # not over title and text
    assert rows(occurrences.phrase(["tunnel"])) == [0, 2]
    assert rows(occurrences.phrase(["tunnels"])) == [1]
    assert rows(occurrences.phrase(["of", "the", "wing", "tip"])) == [4]
    assert rows(occurrences.phrase(["wing", "of", "the", "tip"])) == []
    assert rows(occurrences.phrase(["wind", "airship"])) == []


def test_an_excluded_word_leaves_out_its_other_forms_and_a_stop_word_itself(forward_of, analyzer):
    occurrences = Occurrences(forward_of(*DOCUMENTS), analyzer)
    assert rows(occurrences.unwanted(["tunnel"])) == [0, 1, 2]
    assert rows(occurrences.unwanted(["the"])) == [0, 1, 4]
    assert rows(occurrences.unwanted(["wind", "tunnel"])) == [0]


def test_more_words_than_one_pass_takes_are_found_too(forward_of, analyzer):
    letters = [f"letter{n}" for n in range(70)]
    forward = forward_of(*((word, f"{word} again") for word in letters), ("", " ".join(letters)))
    occurrences = Occurrences(forward, analyzer)
    terms = analyzer.terms(letters)
    ids = [forward.vocabulary.term_id(term) for term in terms]
    assert rows(occurrences.any_of(ids[1:])) == list(range(1, 71))
    assert rows(occurrences.phrase(letters)) == [70]
    assert rows(occurrences.phrase([*letters[:-1], letters[0]])) == []


def test_bitmaps_that_are_kept_answer_as_the_first_time(forward_of, analyzer, monkeypatch):
    monkeypatch.setattr("rankwell.ranker.occurrences._KEPT_BYTES", 2)
    occurrences = Occurrences(forward_of(*DOCUMENTS), analyzer)
    for _ in range(3):
        assert rows(occurrences.phrase(["wind", "tunnel"])) == [0]
        assert rows(occurrences.phrase(["mole"])) == [1]
    assert len(occurrences._kept) <= 2
