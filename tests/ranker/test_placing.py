"""Boosts, diversity and pins, each behind the ranker and for itself."""

import json

import numpy as np
import pytest

import rankwell
from rankwell.data.records import Document
from rankwell.ranker.features import FEATURES
from rankwell.ranker.placing import Boost, Diversify, Pin


@pytest.fixture
def opened(collection_of):
    texts = ["wing lift", "wing lift", "wing drag of a cone", "lift", "wing", "heat"]
    lines = (
        json.dumps({"_id": f"d{i}", "text": text, "metadata": {"kind": "ab"[i % 2]}})
        for i, text in enumerate(texts)
    )
    with rankwell.open(collection_of(*lines)) as collection:
        yield collection


def ids(result):
    return [hit.doc_id for hit in result.hits]


def test_a_boost_adds_deviations_to_what_passes_its_filter(opened):
    plain = opened.search("wing lift")
    boost = Boost(opened.documents, {"kind": "b"}, 100.0)
    found = opened.search("wing lift", then=[boost])
    of_b = [doc_id for doc_id in ids(plain) if int(doc_id[1]) % 2]
    assert ids(found)[: len(of_b)] == of_b
    before, after = ({h.doc_id: h.score for h in r.hits} for r in (plain, found))
    step = 100 * np.std(list(before.values()))
    assert after["d1"] - before["d1"] == pytest.approx(step, rel=1e-4)
    assert after["d0"] == before["d0"]
    assert found.stages[-2].name == "boosted"


def test_boosts_and_pins_know_what_came_and_went_since_the_version(collection_of):
    lines = ('{"_id": "d0", "text": "wing lift", "kind": "a"}', '{"_id": "d1", "text": "wing"}')
    with rankwell.open(collection_of(*lines)) as collection:
        version = collection.documents
        collection.put([Document("d2", "", "wing", {"kind": "b"}), Document("d1", "", "wing drag")])
        boost, pin = Boost(version, {"kind": "b"}, 100.0), Pin(version, ("d1",))
        assert ids(collection.search("wing", then=[boost]))[0] == "d2"
        assert ids(collection.search("wing", then=[boost, pin]))[:2] == ["d1", "d2"]


def test_diversity_holds_back_what_already_stands_there(opened):
    # d0 and d1 are the same text
    plain = opened.search("wing lift")
    assert set(ids(plain)[:2]) == {"d0", "d1"}
    assert ids(opened.search("wing lift", then=[Diversify(opened.pool, 0.0)])) == ids(plain)
    found = ids(opened.search("wing lift", then=[Diversify(opened.pool, 0.9)]))
    assert found[0] == ids(plain)[0]
    assert found[1] not in ("d0", "d1")
    assert sorted(found) == sorted(ids(plain))


def test_pins_come_first_in_their_order_and_only_candidates_do(opened):
    pin = Pin(opened.documents, ("d3", "nobody", "d2", "d3"))
    found = opened.search("wing lift", then=[pin])
    assert ids(found)[:2] == ["d3", "d2"]
    rest = [doc_id for doc_id in ids(opened.search("wing lift")) if doc_id not in ("d3", "d2")]
    assert ids(found)[2:] == rest


def test_explanations_name_what_moved_a_hit_and_the_words_that_match(opened):
    first = opened.search("wing lift", explain=True).explanations[0]
    assert first.words == {"wing": first.words["wing"], "lift": first.words["lift"]}
    found = first.words["wing"]["wing"]
    assert (found.similarity, found.kernel) == (1, "exact")
    assert set(first.moved) <= set(FEATURES)


def test_a_word_that_only_given_texts_have_counts_in_their_own_bound(opened):
    texts = ["zeppelin", "wing lift", "zeppelin wing lift"]
    alone = [opened.rerank("zeppelin", [text])[0].score for text in texts]
    # no share of the bound is above 1, so no fused score is
    assert 0 <= min(alone) <= max(alone) <= 1
    assert alone[0] > alone[1]
    together = {found.index: found.score for found in opened.rerank("zeppelin", texts)}
    assert [together[i] for i in range(3)] == pytest.approx(alone, abs=1e-6)
    # a text that the collection has too scores as it does there, whatever the query's other words
    found = {hit.doc_id: hit.score for hit in opened.search("zeppelin wing lift").hits}
    given = {f.index: f.score for f in opened.rerank("zeppelin wing lift", texts)}
    assert given[1] == pytest.approx(found["d0"], abs=1e-5)
