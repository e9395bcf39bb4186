"""The promises of a search, on Cranfield: what a score depends on, and what it does not."""

import html
import json
import math
import random
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import rankwell
from rankwell.data.analysis import words
from rankwell.data.config import VectorsConfig, WordsConfig
from rankwell.data.errors import InputError, NotFound
from rankwell.data.readers import read_queries
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.dense.watching import Measured
from rankwell.ranker.collection import Collection
from rankwell.ranker.features import FEATURES
from rankwell.ranker.terms import MAX_QUERY_WORDS

DEPTH = 200
EVERY_WORD = WordsConfig(dimensions=16, epochs=2, subsample=0.0)
GIVEN = ["boundary layer", "lift", "what is known of heat transfer in supersonic flow past a cone"]
EDGES = [
    "the of and",
    "?!... --",
    "zzyzx qwertyuiop",
    "lift " * 10_000,
    " ".join(f"word{i}" for i in range(10_000)),
    "مقاومة الهواء שלום",
    "e\u0301coulement d\u0308 \u0301 \u200f \u202e flow",
    '"boundary layer" -wing AND (OR) field:lift^2 ~*\\',
    "\x00\ufeff\U0001f600 lift",
]


@pytest.fixture(scope="module")
def texts(cranfield):
    """Thirty of Cranfield's own queries, and some short ones."""
    # its "flow -dash papers" is an exclusion to a search, and to the letter everywhere else
    read = [
        query.text.replace(" -", " ")
        for query in read_queries(cranfield.folder / cranfield.config.queries.source)
    ]
    return [*GIVEN, *random.Random(0).sample(read, 30)]


@pytest.fixture(scope="module")
def authors(cranfield):
    return [value or "" for value in cranfield.documents.field("author").to_pylist()]


@pytest.fixture(scope="module")
def rankings(cranfield, texts):
    return {text: cranfield.rank(text) for text in texts}


def scores_of(result):
    return {hit.doc_id: hit.score for hit in result.hits}


def listed(result):
    return [(hit.rank, hit.doc_id, hit.score, hit.snippet) for hit in result.hits]


def test_a_page_is_the_start_of_every_longer_one_with_the_same_scores(cranfield, texts):
    for text in texts[:5]:
        whole = listed(cranfield.search(text, DEPTH))
        assert len(whole) == DEPTH
        for k in (1, 10, 37):
            assert listed(cranfield.search(text, k)) == whole[:k]


def test_hits_come_by_falling_score_and_ties_by_row(rankings):
    for ranking in rankings.values():
        keys = list(zip(-ranking.scores_K, ranking.scored.rows_K, strict=True))
        assert keys == sorted(keys)
        assert len(set(ranking.scored.rows_K.tolist())) == len(keys)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_a_filter_changes_neither_scores_nor_order(share, cranfield, rankings, authors):
    chosen, names, differing = random.Random(1), sorted(set(authors)), []
    for text, whole in rankings.items():
        kept = set(chosen.sample(names, int(share * len(names))))
        some = cranfield.rank(text, filter={"author": {"any": sorted(kept)}})
        rows = some.scored.rows_K.tolist()
        assert {authors[row] for row in rows} <= kept
        expected = [row for row in whole.scored.rows_K.tolist() if authors[row] in kept]
        listed_before = set(expected)
        found = dict(zip(rows, some.scores_K.tolist(), strict=True))
        assert found.keys() >= listed_before
        differing += [
            (text[:20], row, found[row] - score)
            for row, score in zip(
                whole.scored.rows_K.tolist(), whole.scores_K.tolist(), strict=True
            )
            if row in listed_before and abs(found[row] - score) > 1e-6
        ]
        assert [row for row in rows if row in listed_before] == expected
    assert differing == []


def test_a_filter_that_nothing_passes_gives_no_hits(cranfield):
    assert cranfield.search("lift", filter={"author": "nobody at all"}).hits == ()


def test_a_text_scores_in_rerank_as_it_does_in_search(cranfield, texts):
    differing = []
    for text in texts[:20]:
        hits = cranfield.search(text, 30).hits
        documents = [cranfield.document(hit.doc_id) for hit in hits]
        found = cranfield.rerank(text, [d.text for d in documents], [d.title for d in documents])
        scores = {ranked.index: ranked.score for ranked in found}
        differing += [
            (text[:20], hit.doc_id, hit.score - scores[place])
            for place, hit in enumerate(hits)
            if abs(hit.score - scores[place]) > 1e-5
        ]
    assert differing == []


def test_a_text_scores_the_same_beside_any_others(cranfield, texts):
    for text in texts[:6]:
        documents = [cranfield.document(h.doc_id) for h in cranfield.search(text, 12).hits]
        bodies, titles = [d.text for d in documents], [d.title for d in documents]
        together = {r.index: r.score for r in cranfield.rerank(text, bodies, titles)}
        strange = ["zzyzx unheard-of wordage", "", f"{text} {text}", "東京 ½ lift"]
        mixed = {
            r.index: r.score
            for r in cranfield.rerank(text, [*strange, *bodies[:5]], [*strange, *titles[:5]])
        }
        for place in range(5):
            alone = cranfield.rerank(text, [bodies[place]], [titles[place]])[0].score
            assert alone == pytest.approx(together[place], abs=1e-5)
            assert mixed[place + len(strange)] == pytest.approx(together[place], abs=1e-5)


def test_rerank_gives_every_text_best_first_ties_in_the_order_given(cranfield):
    found = cranfield.rerank("wing lift", ["heat", "lift of a wing", "heat", "lift of a wing"])
    assert [ranked.index for ranked in found] == [1, 3, 0, 2]
    assert found[0].score == found[1].score > found[2].score == found[3].score
    assert cranfield.rerank("lift", []) == []


@pytest.mark.parametrize(
    ("query", "texts_given", "titles"), [("lift", ["a", "b"], ["c"]), (" ", ["a"], None)]
)
def test_rerank_refuses_what_does_not_fit(query, texts_given, titles, cranfield):
    with pytest.raises(InputError):
        cranfield.rerank(query, texts_given, titles)


def test_every_fused_candidate_has_exact_scores_of_both_kinds(cranfield, texts):
    analyzer, config = cranfield.analyzer, cranfield.scorer.config
    store = [cranfield.documents[row] for row in range(len(cranfield))]
    surfaces = [words(d.title) + words(d.text) for d in store]
    forms = sorted({word for document in surfaces for word in document})
    term = dict(zip(forms, analyzer.terms(forms), strict=True))
    documents = [Counter(t for w in d if (t := term[w])) for d in surfaces]
    frequency = Counter(t for d in documents for t in d)
    average = sum(d.total() for d in documents) / len(documents)
    vectors = np.load(cranfield.version.folder / "vectors" / "vectors.npy").astype(float)

    def idf(t):
        return math.log(1 + (len(documents) - frequency[t] + 0.5) / (frequency[t] + 0.5))

    for text in texts[:8]:
        asked = Counter(t for t in analyzer.terms(words(text)) if t)
        bound = sum(c * idf(t) for t, c in asked.items() if frequency[t]) * (config.k1 + 1)
        query = cranfield.encoder.encode_queries([text])[0].astype(float)
        scored = cranfield.candidates(text).scored
        assert len(scored) > DEPTH
        for row, lexical, dense in zip(
            scored.rows_K, scored.lexical_K, scored.dense_K, strict=True
        ):
            document = documents[row]
            held_back = config.k1 * (1 - config.b + config.b * document.total() / average)
            exact = sum(
                count * idf(t) * (config.k1 + 1) * document[t] / (document[t] + held_back)
                for t, count in asked.items()
                if document[t]
            )
            assert lexical == pytest.approx(exact / bound, abs=1e-5)
            assert dense == pytest.approx(vectors[row] @ query, abs=1e-5)
        share = cranfield.ranker.fit.lexical_weight
        assert scored.fused_K == pytest.approx(
            share * scored.lexical_K + (1 - share) * scored.dense_K, abs=1e-6
        )


def test_the_explanation_has_each_stages_score_and_every_feature(cranfield):
    result = cranfield.search("boundary layer", 5, explain=True)
    fused = cranfield.candidates("boundary layer")
    by_row = dict(zip(fused.scored.rows_K.tolist(), fused.scores_K.tolist(), strict=True))
    for hit, explanation in zip(result.hits, result.explanations, strict=True):
        assert explanation.doc_id == hit.doc_id
        assert tuple(explanation.features) == FEATURES
        assert explanation.scores["ranked"] == pytest.approx(hit.score)
        row = cranfield.documents.row_of(hit.doc_id)
        assert explanation.scores["fused"] == pytest.approx(by_row[row], abs=1e-6)
        listed_scores = list(by_row.values())[:100]
        relative = (by_row[row] - np.mean(listed_scores)) / np.std(listed_scores)
        assert explanation.features["fused"] == pytest.approx(min(relative, 8), abs=1e-3)
    assert cranfield.search("boundary layer", 5).explanations == ()


@pytest.mark.parametrize("query", EDGES, ids=range(len(EDGES)))
def test_a_strange_query_has_a_defined_answer(query, cranfield):
    result = cranfield.search(query, 20)
    assert result.query == query
    assert listed(cranfield.search(query, 20)) == listed(result)
    assert all(math.isfinite(hit.score) for hit in result.hits)
    shown = [re.sub("</?mark>", "", hit.snippet) for hit in result.hits]
    assert not any("<" in snippet or ">" in snippet for snippet in shown)
    assert cranfield.rerank(query, ["lift of a wing"])[0].index == 0


def test_a_query_of_stop_words_is_answered_by_its_vector_alone(cranfield):
    ranking = cranfield.rank("the of and")
    assert ranking.trail[0].time.candidates == 0
    assert ranking.trail[1].time.candidates > 0
    assert not ranking.scored.lexical_K.any()
    assert len(cranfield.search("the of and", 10).hits) == 10


def test_a_query_of_punctuation_or_unknown_words_finds_nothing(cranfield):
    assert cranfield.search("?!... --").hits == ()
    assert any("no words" in reason for reason in cranfield.search("?!... --").degraded)
    assert cranfield.search("zzyzx qwertyuiop").hits == ()


def test_of_a_long_query_the_first_words_count_and_the_answer_says_so(cranfield):
    long = "lift wing " * 5_000
    result = cranfield.search(long)
    assert len(result.degraded) == 1
    assert "10000" in result.degraded[0]
    assert str(MAX_QUERY_WORDS) in result.degraded[0]
    assert scores_of(result) == scores_of(cranfield.search("lift wing " * (MAX_QUERY_WORDS // 2)))
    assert cranfield.search("lift wing " * (MAX_QUERY_WORDS // 2)).degraded == ()


@pytest.mark.parametrize("query", ["", " ", "\n\t\u3000"])
def test_a_blank_query_is_refused(query, cranfield):
    with pytest.raises(InputError, match="the query is empty"):
        cranfield.search(query)


@pytest.mark.parametrize("k", [0, -1, DEPTH + 1, 10**9])
def test_a_k_out_of_range_is_refused(k, cranfield):
    with pytest.raises(InputError, match=f"k is {k}; it must be from 1 to {DEPTH}"):
        cranfield.search("lift", k)


def test_an_unknown_field_of_the_filter_is_refused_with_the_nearest(cranfield):
    with pytest.raises(InputError, match="did you mean 'author'"):
        cranfield.search("lift", filter={"autor": "x"})


def test_several_threads_get_what_one_gets(cranfield, texts):
    def answer(text):
        reranked = cranfield.rerank(text, ["lift of a wing", "heat", text])
        return listed(cranfield.search(text, 20)), [(r.index, r.score) for r in reranked]

    asked = texts[:10]
    alone = [answer(text) for text in asked]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(answer, asked * 3))
    assert together == alone * 3


def test_hits_show_the_documents_own_title_fields_and_text(cranfield):
    for hit in cranfield.search("boundary layer", 10).hits:
        document = cranfield.document(hit.doc_id)
        assert (hit.title, hit.fields) == (document.title, document.fields)
        bare = html.unescape(re.sub("</?mark>", "", hit.snippet))
        assert bare.removeprefix("… ").removesuffix(" …") in document.text
        assert "<mark>" in hit.snippet


def test_the_stages_and_their_candidates_are_told(cranfield):
    stages = {stage.name: stage.candidates for stage in cranfield.search("lift", 7).stages}
    assert list(stages) == ["query", "lexical", "dense", "fused", "features", "ranked", "page"]
    assert stages["fused"] >= stages["features"] == stages["ranked"] == DEPTH
    assert stages["page"] == 7
    assert cranfield.stage_names == ("lexical", "dense", "fused", "ranked")


def test_an_evaluation_gives_the_same_figures_twice_and_the_ranker_helps(cranfield):
    first, second = cranfield.evaluate(), cranfield.evaluate()
    assert (first.measures, first.runs) == (second.measures, second.runs)
    assert set(first.measures) == {"lexical", "dense", "fused", "ranked"}
    assert first.measures["ranked"]["nDCG@10"] > first.measures["fused"]["nDCG@10"]
    assert first.version == cranfield.version.name


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"split": "tset"}, "no split 'tset'"),
        ({"split": "dev"}, "no dev judgments"),
        ({"stages": ["rank"]}, "did you mean 'ranked'"),
        ({"measures": "nDGC@10"}, "no measure 'nDGC@10'"),
    ],
)
def test_an_evaluation_of_what_does_not_exist_is_refused(arguments, reason, cranfield):
    with pytest.raises(InputError, match=reason):
        cranfield.evaluate(**arguments)


def test_words_and_vectors_can_be_asked_for(cranfield):
    assert len(cranfield.neighbours("supersonic", 5)) == 5
    assert np.linalg.norm(cranfield.encode(["supersonic flow"]), axis=1) == pytest.approx(1)
    with pytest.raises(NotFound):
        cranfield.document("no such document")


def test_a_version_without_a_ranker_serves_the_fused_order(collection_of):
    folder = collection_of(
        '{"_id": "a", "text": "wing lift"}',
        '{"_id": "b", "text": "wing"}',
        '{"_id": "c", "text": "heat"}',
        words=EVERY_WORD,
    )
    with rankwell.open(folder) as collection:
        assert collection.stage_names == ("lexical", "dense", "fused")
        result = collection.search("lift wing")
        fused = collection.candidates("lift wing")
        assert [hit.doc_id for hit in result.hits] == collection.documents.doc_ids(
            fused.scored.rows_K
        )
        assert [hit.score for hit in result.hits] == fused.scores_K.tolist()
        assert result.hits[0].doc_id == "a"
        assert collection.rerank("lift wing", ["heat", "wing lift"])[0].index == 1


def test_a_collection_of_one_word_can_be_searched(collection_of):
    with rankwell.open(collection_of('{"_id": "a", "text": "wing"}')) as collection:
        assert scores_of(collection.search("wings")).keys() == {"a"}


def test_a_service_learns_what_its_vector_index_finds(collection_of, monkeypatch):
    lines = (json.dumps({"_id": f"{i}", "text": f"wing number n{i}"}) for i in range(30))
    config = VectorsConfig(index="IVF1,SQ8", checked_share=1.0)
    with rankwell.open(collection_of(*lines, vectors=config)) as collection:
        assert collection.dense_recall is None
        collection.watch()
        deadline = time.monotonic() + 30
        while not collection.dense_recall.num_checked and time.monotonic() < deadline:
            collection.search("wing")
            time.sleep(0.01)
        assert collection.dense_recall.recall == 1
        assert collection.troubles == []
        monkeypatch.setattr(FaissEngine, "measured", Measured(0.8, 500, 0.95))
        assert collection.troubles[0].startswith("the vector index finds 80.0% of the true best")


def test_no_query_finds_an_empty_document(collection_of):
    folder = collection_of(
        *(f'{{"_id": "{word}", "text": "{word} flow"}}' for word in ("wing", "lift", "heat")),
        '{"_id": "empty", "text": ""}',
        words=EVERY_WORD,
    )
    with rankwell.open(folder) as collection:
        for query in ("wing", "flow", "heat lift", "of"):
            assert "empty" not in scores_of(collection.search(query))


def test_the_neighbours_of_a_query_are_those_of_its_words(cranfield: Collection) -> None:
    found = cranfield.query_neighbours("What is the Supersonic wing of zzzzzz? Wing.", 4)
    assert list(found) == ["what", "supersonic", "wing"]
    for word, near in found.items():
        assert [n.word for n in near] == [n.word for n in cranfield.neighbours(word, 4)]
    assert cranfield.query_neighbours("the of") == {}
    assert cranfield.query_neighbours("") == {}
    assert len(cranfield.query_neighbours("flow wing heat layer shock lift drag wave body")) == 8
