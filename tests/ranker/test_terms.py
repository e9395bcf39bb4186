"""A query's terms and their statistics."""

import numpy as np
import pytest

from rankwell.ranker.form_table import slot_of
from rankwell.ranker.terms import resolve, weighted_terms

DOCUMENTS = (("wing", "lift of wings"), ("", "the drag"), ("", "drag drag lift"))


def test_terms_have_the_exact_counts_and_inverse_document_frequencies(analyzer, forward_of):
    terms = resolve(analyzer.query("the wings drag a wing"), forward_of(*DOCUMENTS))
    # "the" and "a" are stop words; wing and wings are one term, of document 0 alone
    assert terms.counts_T.tolist() == [2, 1]
    assert terms.idf_T == pytest.approx(
        [np.log(1 + (3 - 1 + 0.5) / (1 + 0.5)), np.log(1 + (3 - 2 + 0.5) / (2 + 0.5))]
    )
    assert terms.known_T.all()


def test_all_surface_forms_of_a_term_share_its_slot_and_others_have_none(analyzer, forward_of):
    forward = forward_of(*DOCUMENTS)
    terms = resolve(analyzer.query("drag wing"), forward)
    surfaces = np.array(forward.vocabulary.surfaces)[terms.surfaces_S]
    assert surfaces.tolist() == ["drag", "wing", "wings"]
    assert terms.slots_S.tolist() == [0, 1, 1]
    slots = {
        surface: slot_of(number, terms.table.forms_H, terms.table.slots_H)
        for number, surface in enumerate(forward.vocabulary.surfaces)
    }
    assert slots == {"drag": 0, "wing": 1, "wings": 1, "lift": -1, "of": -1, "the": -1}


def test_an_unknown_word_is_a_term_without_a_number(analyzer, forward_of):
    terms = resolve(analyzer.query("lift zeppelin"), forward_of(*DOCUMENTS))
    assert terms.ids_T[1] == -1
    assert terms.known_T.tolist() == [True, False]
    assert terms.idf_T[1] == pytest.approx(np.log(1 + (3 + 0.5) / 0.5))


def test_a_word_known_only_to_given_texts_has_a_number_but_no_document(analyzer, forward_of):
    base = forward_of(*DOCUMENTS)
    forward = base.with_texts(analyzer, [""], ["zeppelins and a zeppelin"])
    terms = resolve(analyzer.query("zeppelin"), forward)
    assert terms.ids_T.tolist() == [base.vocabulary.num_terms]
    assert not terms.known_T[0]
    assert terms.slots_S.tolist() == [0, 0]
    assert (terms.idf_T == resolve(analyzer.query("zeppelin"), base).idf_T).all()


def test_a_query_of_stop_words_has_no_terms(analyzer, forward_of):
    terms = resolve(analyzer.query("of the"), forward_of(*DOCUMENTS))
    assert len(terms.ids_T) == len(terms.idf_T) == 0
    assert len(terms.surfaces_S) == len(terms.slots_S) == 0


def test_weighted_terms_keep_their_weights(analyzer, forward_of):
    forward = forward_of(*DOCUMENTS)
    ids = np.array([forward.vocabulary.term_id("lift")])
    terms = weighted_terms(ids, np.array([0.25]), forward)
    assert terms.counts_T.tolist() == [0.25]
    assert terms.idf_T == pytest.approx([np.log(1 + 1.5 / 2.5)])
