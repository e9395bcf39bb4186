"""The live part, on Cranfield: changes are seen at once, and score as the version's own do."""

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import rankwell
from rankwell.data.config import load_config
from rankwell.data.errors import NotFound
from rankwell.data.journal import Journal
from rankwell.data.records import Document
from rankwell.data.versions import VersionStore
from rankwell.evaluation.judged import load_judged
from rankwell.indexer.job import index_collection
from rankwell.ranker.collection import Collection
from rankwell.ranker.jobs import train_ranker
from rankwell.ranker.live import LiveReader

QUERIES = (
    "heat transfer in a boundary layer",
    "shear flow past a flat plate",
    "what is known of lift on slender wings at supersonic speed",
)
QUERY = QUERIES[0]


@pytest.fixture(scope="module")
def folder(cranfield_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(cranfield_folder, tmp_path_factory.mktemp("live") / "cranfield"))


@pytest.fixture
def collection(folder: Path) -> Iterator[Collection]:
    """The built Cranfield with a journal of its own, empty."""
    shutil.rmtree(folder / "journal", ignore_errors=True)
    with rankwell.open(folder) as opened:
        yield opened


def alike(scores: dict[str, float]) -> object:
    """Returns what equals these scores but for the rounding of a batch of another size."""
    return pytest.approx(scores, abs=1e-5)


def listed(result):
    return [(hit.rank, hit.doc_id, hit.score, hit.snippet) for hit in result.hits]


def scores(collection: Collection, query: str, **more) -> dict[str, float]:
    return {hit.doc_id: hit.score for hit in collection.search(query, 200, **more).hits}


def best(collection: Collection) -> Document:
    return collection.document(collection.search(QUERY, 1).hits[0].doc_id)


def test_without_changes_a_search_is_the_versions_own_to_the_last_bit(
    collection, cranfield
) -> None:
    collection.journal.put([Document("z", "a text")])
    collection.journal.withdraw(["z"])
    assert collection.refresh() is None
    plain = Collection(cranfield.folder, VersionStore(cranfield.folder).open(), with_journal=False)
    with plain:
        for query in QUERIES:
            wanted = plain.search(query, 200, explain=True)
            found = collection.search(query, 200, explain=True)
            assert listed(found) == listed(wanted)
            assert found.explanations == wanted.explanations
            assert collection.rank(query).request.version_mask_N is None


def test_the_same_document_scores_the_same_in_the_version_and_beside_it(collection) -> None:
    for query in QUERIES:
        hits = collection.search(query, 20).hits
        originals = [collection.document(hit.doc_id) for hit in hits[::6]]
        collection.journal.put([replace(d, doc_id=f"copy {d.doc_id}") for d in originals])
        found = collection.search(query, 50, explain=True)
        why = {explanation.doc_id: explanation for explanation in found.explanations}
        for document in originals:
            own, copy = why[document.doc_id], why[f"copy {document.doc_id}"]
            assert copy.scores == alike(own.scores)
            assert copy.features == alike(own.features)
        collection.journal.withdraw([f"copy {d.doc_id}" for d in originals])


def test_additions_change_no_score_of_the_versions_documents(collection) -> None:
    before = scores(collection, QUERY)
    collection.journal.put([Document(f"new{i}", f"{QUERY} {i}") for i in range(30)])
    after = scores(collection, QUERY)
    assert {i for i in after if i.startswith("new")} == {f"new{i}" for i in range(30)}
    kept = before.keys() & after.keys()
    assert len(kept) == 170
    assert {i: after[i] for i in kept} == alike({i: before[i] for i in kept})


def test_a_document_put_again_as_it_is_stays_the_versions(collection) -> None:
    before = listed(collection.search(QUERY, 50))
    collection.journal.put([best(collection)])
    assert collection.refresh() is None
    assert listed(collection.search(QUERY, 50)) == before


def test_a_replaced_document_is_found_by_its_new_text_alone(collection) -> None:
    old = best(collection)
    collection.journal.put([Document(old.doc_id, "a treatise on beekeeping and honey", "Bees")])
    assert old.doc_id not in scores(collection, old.title)
    [hit] = collection.search("honey of bees", 1).hits
    assert (hit.doc_id, hit.title) == (old.doc_id, "Bees")
    assert collection.document(old.doc_id).text == "a treatise on beekeeping and honey"
    assert len(collection) == 1400


def test_a_deleted_document_is_gone_from_every_stage_and_view(collection) -> None:
    gone = best(collection)
    row = collection.documents.row_of(gone.doc_id)
    collection.journal.delete([gone.doc_id])
    for filter_ in (None, {"author": gone.fields["author"]}, {"not": {"author": "nobody"}}):
        ranking = collection.rank(QUERY, filter=filter_)
        assert ranking.trail
        assert all(row not in left.rows_K for left in ranking.trail)
        assert row not in ranking.reference.rows_K
        assert len(ranking.reference) == 100
    with pytest.raises(NotFound, match=f"there is no document '{gone.doc_id}'"):
        collection.document(gone.doc_id)
    assert len(collection) == 1399
    collection.journal.put([gone])
    assert collection.document(gone.doc_id) == gone


def test_withdrawing_brings_the_versions_own_answers_back(collection) -> None:
    before = listed(collection.search(QUERY, 200))
    first, second = (hit.doc_id for hit in collection.search(QUERY, 2).hits)
    collection.journal.put([Document("new", QUERY), Document(first, "bees")])
    collection.journal.delete([second])
    assert listed(collection.search(QUERY, 200)) != before
    collection.journal.withdraw(["new", first, second])
    assert listed(collection.search(QUERY, 200)) == before


def test_filters_choose_among_changes_too_and_change_no_score(collection) -> None:
    new = [
        Document(f"new{i}", f"{QUERY} {i}", fields={"author": "me", "year": 1990 + i})
        for i in range(5)
    ]
    collection.journal.put(new)
    everything = scores(collection, QUERY)
    mine = scores(collection, QUERY, filter={"author": "me"})
    assert mine == alike({i: everything[i] for i in mine})
    assert sorted(mine) == ["new0", "new1", "new2", "new3", "new4"]
    assert sorted(scores(collection, QUERY, filter={"year": {"gte": 1993}})) == ["new3", "new4"]
    others = scores(collection, QUERY, filter={"not": {"author": "me"}})
    assert not {i for i in others if i.startswith("new")}
    shared = others.keys() & everything.keys()
    assert {i: others[i] for i in shared} == alike({i: everything[i] for i in shared})


def test_a_word_that_only_a_new_document_has_finds_it_on_the_usual_scale(collection) -> None:
    assert "new" not in scores(collection, "quuxes")
    collection.journal.put([Document("new", "the quux in a boundary layer")])
    found = collection.search("quuxes", 10, explain=True)
    assert found.hits[0].doc_id == "new"
    assert "<mark>quux</mark>" in found.hits[0].snippet
    assert 0 < found.explanations[0].scores["lexical"] <= 1
    assert abs(found.hits[0].score) < 2


def test_a_part_grown_little_by_little_is_the_part_made_at_once(collection, folder) -> None:
    texts = [collection.documents[row] for row in range(40)]
    for number, document in enumerate(texts):
        text = f"{document.text} gust{number} quux"
        collection.journal.put([Document(f"new{number}", text, document.title)])
        if number % 3 == 0:
            collection.journal.delete([f"new{number // 2}"])
        collection.refresh()
    collection.journal.withdraw(["new5"])
    with rankwell.open(folder) as fresh:
        assert len(fresh) == len(collection) == 1425
        for query in (*QUERIES, "quux gust7"):
            wanted = fresh.search(query, 200, explain=True)
            found = collection.search(query, 200, explain=True)
            assert {h.doc_id: h.score for h in found.hits} == alike(
                {h.doc_id: h.score for h in wanted.hits}
            )
            features = {e.doc_id: e.features for e in wanted.explanations}
            for explanation in found.explanations:
                assert explanation.features == alike(features[explanation.doc_id])


def test_texts_from_elsewhere_score_as_the_documents_of_a_search(collection) -> None:
    first, second = (collection.document(h.doc_id) for h in collection.search(QUERY, 2).hits)
    collection.journal.delete([first.doc_id])
    collection.journal.put([Document("new", f"{QUERY} measured", "New")])
    found = scores(collection, QUERY)
    again = collection.rerank(QUERY, [second.text, f"{QUERY} measured"], [second.title, "New"])
    assert {str(text.index): text.score for text in again} == alike(
        {"0": found[second.doc_id], "1": found["new"]}
    )


def test_another_open_collection_sees_what_is_appended_at_its_next_search(
    collection, folder
) -> None:
    assert "new" not in scores(collection, QUERY)
    Journal(folder).put([Document("new", QUERY)])
    assert "new" in scores(collection, QUERY)
    Journal(folder).delete(["new"])
    assert "new" not in scores(collection, QUERY)


def test_evaluation_sees_the_changes(collection, folder) -> None:
    recall = collection.evaluate(stages=["fused"]).per_query["fused"]["R@100"]
    judged = load_judged(load_config(folder), folder, "test", None)
    query_id = next(query_id for query_id, value in recall.items() if value > 0.5)
    relevant = [j.doc_id for j in judged.judgments if j.query_id == query_id and j.relevance > 0]
    collection.journal.delete(relevant)
    evaluation = collection.evaluate(stages=["fused"])
    assert evaluation.per_query["fused"]["R@100"][query_id] == 0
    assert any("the collection does not have" in warning for warning in evaluation.warnings)


def test_training_is_on_the_versions_own_documents(judged: Path) -> None:
    index_collection(judged)
    before = train_ranker(judged)
    Journal(judged).put([Document(f"new{i}", f"topic{i} in a tunnel") for i in range(9)])
    Journal(judged).delete([f"d{topic}-1" for topic in range(9)])
    after = train_ranker(judged)
    assert (after.fused, after.ranked, after.fit) == (before.fused, before.ranked, before.fit)


def test_a_search_shows_what_it_scored_while_documents_change_under_it(collection) -> None:
    texts = ("alphazoid in a boundary layer", "betazoid in a boundary layer")
    stop, faults = threading.Event(), []

    def search() -> None:
        while not stop.is_set():
            hits = collection.search("alphazoid", 5).hits
            faults.extend(h for h in hits if h.doc_id == "new" and "alphazoid" not in h.snippet)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(30):
        collection.journal.put([Document("new", texts[number % 2], "x" * number)])
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_damaged_journal_is_named_in_every_answer_and_what_came_before_counts(
    collection, folder
) -> None:
    collection.journal.put([Document("new", QUERY)])
    collection.journal.put([Document("newer", QUERY)])
    path = collection.journal.path
    path.write_bytes(path.read_bytes().replace(b'"newer"', b'"never"'))
    with rankwell.open(folder) as opened:
        for _ in range(2):
            result = opened.search(QUERY, 200)
            [degraded] = result.degraded
            assert degraded.startswith("changes after entry 1 of the journal are missing: ")
            assert "line 3 is not as it was written" in degraded
            assert "new" in {hit.doc_id for hit in result.hits}
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:2]))
        assert opened.search(QUERY).degraded == ()


def test_what_a_version_has_folded_in_is_not_laid_over_it_again(collection) -> None:
    gone, old = "1", collection.document("2")
    collection.journal.delete([gone])
    collection.journal.put([Document("2", "changed")])
    reader = LiveReader(
        collection.journal,
        1,
        collection.documents,
        collection.pool,
        collection.analyzer,
        collection.encoder,
    )
    reader.refresh()
    assert reader.part is not None
    assert reader.part.documents.rows_of(["1", "2"]).tolist() == [
        collection.documents.row_of("1"),
        1400,
    ]
    assert old.text != "changed"
