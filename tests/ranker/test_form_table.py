"""The hash table of a query's surface forms."""

import numpy as np
import pytest

from rankwell.ranker.form_table import FormTable, slot_of


def slots(table, forms):
    return [slot_of(form, table.forms_H, table.slots_H) for form in forms]


def test_each_form_has_its_terms_slot_and_any_other_number_none():
    table = FormTable.of(np.array([7, 0, 12], np.int32), np.array([0, 1, 0], np.int16))
    assert slots(table, [7, 0, 12]) == [0, 1, 0]
    # also numbers that no vocabulary has, such as a damaged file's
    assert slots(table, [1, 13, -1, -7, 2**31 - 1, -(2**31)]) == [-1] * 6


def test_a_query_without_known_terms_has_an_empty_table():
    table = FormTable.of(np.zeros(0, np.int32), np.zeros(0, np.int16))
    assert slots(table, [0, 1, 5]) == [-1] * 3


@pytest.mark.parametrize("num_forms", [1, 63, 64, 65, 5000])
def test_a_table_answers_as_a_dictionary_does(num_forms):
    rng = np.random.default_rng(num_forms)
    forms = rng.choice(50_000, num_forms, replace=False).astype(np.int32)
    values = rng.integers(0, 512, num_forms).astype(np.int16)
    table = FormTable.of(forms, values)
    known = dict(zip(forms.tolist(), values.tolist(), strict=True))
    asked = range(50_000)
    assert slots(table, asked) == [known.get(form, -1) for form in asked]
    assert (table.forms_H < 0).sum() >= 0.5 * len(table.forms_H)  # probing stays short
