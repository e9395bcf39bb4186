"""A live index of the user's own on the real server, ranked without a copy of it."""

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import rankwell
from rankwell.cli import app
from rankwell.data.cluster import ElasticsearchConfig
from rankwell.data.config import (
    DocumentsConfig,
    JudgmentsConfig,
    QueriesConfig,
    RankerConfig,
    WordsConfig,
    load_config,
)
from rankwell.data.errors import FilterError, InputError, MissingIndex, NotFound
from rankwell.data.records import Document
from rankwell.evaluation.judged import load_judged
from rankwell.indexer.adding import add_documents, delete_documents, withdraw_changes
from rankwell.indexer.elasticsearch.attached import AttachedIndex
from rankwell.indexer.elasticsearch.connection import Connection
from rankwell.ranker.asking import Asked
from rankwell.ranker.attached import AttachedCollection
from rankwell.ranker.jobs import train_ranker
from rankwell.ranker.pipeline import Stage
from rankwell.ranker.ranking import Ranking
from rankwell.ranker.tuning import tune

pytestmark = pytest.mark.elasticsearch

numbers = itertools.count()
TOPICS = ("otter", "comet", "piano", "bridge", "volcano", "tulip", "saddle", "harbour")


@pytest.fixture(scope="module")
def ask(cluster: Any) -> Iterator[Callable[..., Any]]:
    connection = Connection(ElasticsearchConfig(urls=(cluster.url,), wait_s=60))
    yield lambda question: connection.call(question, connection.loading())
    connection.close()


def source(topic: str, number: int) -> dict[str, Any]:
    return {
        "head": f"report {number}",
        "body": f"{f'{topic} ' * (number + 1)} seen near {topic}s by day {number}",
        "number": number,
        "topic": topic,
    }


@pytest.fixture(scope="module")
def folder(cluster: Any, ask: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An attached collection with a trained ranker, over an index of its own."""
    from rankwell.data.config import Config, render_config

    index = f"live-{next(numbers)}"
    text = {"type": "text", "analyzer": "english"}
    properties = {"head": text, "body": text, "topic": {"type": "keyword"}}
    ask(
        lambda c: c.indices.create(
            index=index,
            mappings={"properties": properties},
            settings={"number_of_shards": 2, "number_of_replicas": 0},
        )
    )
    lines = [
        part
        for topic in TOPICS
        for n in range(6)
        for part in ({"index": {"_id": f"{topic}-{n}"}}, source(topic, n))
    ]
    ask(lambda c: c.bulk(index=index, operations=lines, refresh=True))
    made = tmp_path_factory.mktemp("attached")
    config = Config(
        documents=DocumentsConfig(title_fields=("head",), text_fields=("body",)),
        queries=QueriesConfig(source="queries.tsv"),
        judgments=JudgmentsConfig(train="train.tsv", test="test.tsv"),
        words=WordsConfig(dimensions=16, epochs=2, min_count=1),
        elasticsearch=ElasticsearchConfig(
            urls=(cluster.url,), index=index, fields=("head", "body^2"), timeout_ms=20_000
        ),
        ranker=RankerConfig(hidden=(4,), folds=2, max_epochs=2, pretrained=False),
    )
    (made / "rankwell.toml").write_text(render_config(config))
    asked = [f"{topic} {extra}" for topic in TOPICS for extra in ("day", "near")]
    (made / "queries.tsv").write_text("".join(f"q{n}\t{text}\n" for n, text in enumerate(asked)))
    judged = [f"q{n} 0 {text.split()[0]}-4 1\n" for n, text in enumerate(asked)]
    (made / "train.tsv").write_text("".join(judged[:14]))
    (made / "test.tsv").write_text("".join(judged[14:]))
    report = train_ranker(made)  # of a sample that is drawn first
    assert (report.version, report.warnings) == ("000002", ())
    return made


@pytest.fixture(scope="module")
def opened(folder: Path) -> Iterator[AttachedCollection]:
    with rankwell.open(folder) as collection:
        assert isinstance(collection, AttachedCollection)
        yield collection


def ids(result: Any) -> list[str]:
    return [hit.doc_id for hit in result.hits]


def test_a_search_ranks_the_indexs_own_documents(opened: AttachedCollection) -> None:
    assert opened.stage_names == ("lexical", "fused", "ranked")
    assert len(opened) == 48
    result = opened.search("otters", 10, explain=True)
    assert sorted(ids(result)) == [f"otter-{n}" for n in range(6)]
    assert [stage.name for stage in result.stages] == [
        "query",
        "lexical",
        "fused",
        "features",
        "ranked",
        "page",
    ]
    hit = next(hit for hit in result.hits if hit.doc_id == "otter-0")
    assert hit.title == "report 0"
    assert hit.snippet.startswith("<mark>otter</mark>  seen near <mark>otters</mark>")
    assert hit.fields == {"number": 0, "topic": "otter"}
    explained = result.explanations[0]
    assert set(explained.scores) == {"lexical", "fused", "ranked"}
    assert "weight(body:otter" in json.dumps(explained.engine)


def test_the_lexical_stage_is_elasticsearchs_own_order(
    opened: AttachedCollection, ask: Callable[..., Any]
) -> None:
    ranking = opened.rank("comet near report")
    cluster = opened.config.elasticsearch
    query = {"query": "comet near report", "fields": ["head^1", "body^2"]}
    found = ask(
        lambda c: c.search(
            index=cluster.index,
            query={"multi_match": query},
            size=200,
            search_type="dfs_query_then_fetch",
        )
    )
    expected = [(hit["_id"], hit["_score"]) for hit in found["hits"]["hits"]]
    left = ranking.trail[0]
    assert opened.doc_ids(ranking, left.rows_K) == [doc_id for doc_id, _ in expected]
    assert left.scores_K.tolist() == pytest.approx([score for _, score in expected])


def test_a_score_depends_on_neither_page_nor_filter(opened: AttachedCollection) -> None:
    plain = {h.doc_id: h.score for h in opened.search("volcano by day", 50).hits}
    assert len(plain) == 48
    few = opened.search("volcano by day", 2)
    behind = opened.search("volcano by day", 50, filter={"topic": "volcano", "number": {"gt": 2}})
    assert sorted(ids(behind)) == ["volcano-3", "volcano-4", "volcano-5"]
    for hit in (*few.hits, *behind.hits):
        assert hit.score == pytest.approx(plain[hit.doc_id], abs=1e-6), hit.doc_id
    assert ids(opened.search("volcano", 5, filter={"number": 99})) == []


def test_texts_from_elsewhere_score_as_the_indexs_own(opened: AttachedCollection) -> None:
    found = opened.search("piano by day", 50)
    documents = [opened.document(hit.doc_id) for hit in found.hits]
    texts = [*(d.text for d in documents), "zyzzyva unheard of"]
    titles = [*(d.title for d in documents), ""]
    scores = {r.index: r.score for r in opened.rerank("piano by day", texts, titles)}
    for place, hit in enumerate(found.hits):
        assert scores[place] == pytest.approx(hit.score, abs=1e-5), hit.doc_id
    assert set(scores) == set(range(len(texts)))
    with pytest.raises(InputError, match="1 titles came with 2 texts"):
        opened.rerank("piano", ["a", "b"], ["a"])


def test_a_query_longer_than_a_cluster_takes_is_asked_with_its_first_words(
    opened: AttachedCollection,
) -> None:
    result = opened.search("otters " + " ".join(f"w{n}" for n in range(20_000)), 10)
    assert sorted(ids(result)) == [f"otter-{n}" for n in range(6)]
    assert result.degraded == ("only the first 512 of the 20001 words were used",)


def test_a_filter_changes_no_score_of_reciprocal_ranks(
    opened: AttachedCollection, folder: Path
) -> None:
    config = replace(opened.config, fusion=replace(opened.config.fusion, method="rrf"))
    with AttachedCollection(folder, opened.version, config, with_ranker=False) as rrf:
        plain = {h.doc_id: h.score for h in rrf.search("volcano by day", 50).hits}
        behind = rrf.search("volcano by day", 50, filter={"topic": "volcano"}).hits
    assert len(behind) == 6
    for hit in behind:
        assert hit.score == pytest.approx(plain[hit.doc_id]), hit.doc_id


def test_what_others_write_is_found_when_the_index_refreshes(
    opened: AttachedCollection, ask: Callable[..., Any]
) -> None:
    index = opened.config.elasticsearch.index
    words = {"head": "urgent", "body": "a quetzalcoatlus over the harbour"}
    ask(lambda c: c.index(index=index, id="new", document=words, refresh=True))
    try:
        result = opened.search("quetzalcoatlus", 3)
        assert ids(result) == ["new"]
        assert "<mark>quetzalcoatlus</mark>" in result.hits[0].snippet
        assert opened.document("new").title == "urgent"
    finally:
        ask(lambda c: c.delete(index=index, id="new", refresh=True))
    assert ids(opened.search("quetzalcoatlus", 3)) == []
    with pytest.raises(NotFound, match="no document 'new' in the index live-"):
        opened.document("new")


def test_evaluation_measures_elasticsearch_against_the_ranker(
    opened: AttachedCollection,
) -> None:
    evaluation = opened.evaluate("test", measures="R@10")
    assert list(evaluation.measures) == ["lexical", "fused", "ranked"]
    assert evaluation.measures["lexical"]["R@10"] == 1.0
    assert evaluation.num_queries == 2
    assert opened.known(["otter-1", "none", "otter-1"]).tolist() == [True, False, True]


def test_a_filter_on_a_field_that_does_not_exist_is_named(opened: AttachedCollection) -> None:
    with pytest.raises(FilterError, match="'topik', which does not exist; did you mean 'topic'"):
        opened.search("otter", filter={"topik": "otter"})


def test_changes_and_tuning_are_refused(opened: AttachedCollection, folder: Path) -> None:
    for change in (
        lambda: opened.put([Document("a", "b")]),
        lambda: opened.delete("otter-1"),
        lambda: delete_documents(folder, ["otter-1"]),
        lambda: add_documents(folder, [folder / "queries.tsv"]),
        lambda: withdraw_changes(folder, ["otter-1"]),
    ):
        with pytest.raises(InputError, match=r"index live-.*, which is never written to"):
            change()
    done = CliRunner().invoke(app, ["delete", str(folder), "otter-1", "--erase"])
    assert done.exit_code == 2
    assert "which is never written to" in " ".join(done.stderr.split())
    judged = load_judged(load_config(folder), folder, "train")
    with pytest.raises(InputError, match="tune does not take attached collections"):
        tune(opened, judged)


def test_nothing_is_written_to_the_users_index(
    opened: AttachedCollection, ask: Callable[..., Any]
) -> None:
    index = opened.config.elasticsearch.index

    def written() -> int:
        stats = ask(lambda c: c.indices.stats(index=index))["_all"]["primaries"]["indexing"]
        return int(stats["index_total"] + stats["delete_total"])

    before = written()
    opened.search("harbour", filter={"topic": "harbour"}, explain=True)
    opened.rerank("harbour", ["a harbour"])
    assert written() == before
    state = ask(lambda c: c.indices.get(index=index))[index]
    assert state["aliases"] == {}
    assert set(state["mappings"]["properties"]) == {"head", "body", "topic", "number"}


def test_long_fields_are_fetched_for_the_documents_of_the_page_alone(
    opened: AttachedCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not opened._index.fields_apart  # these are short
    monkeypatch.setattr(opened._index, "fields_apart", True)
    found = opened.rank("otters by day").found
    assert found is not None
    assert {document.title for document in found.documents} == {f"report {n}" for n in range(6)}
    assert all(document.text and not document.fields for document in found.documents)
    asked: list[int] = []
    fields = AttachedIndex.fields

    def watched(index: AttachedIndex, ids: Any, *more: Any) -> Any:
        asked.append(len(ids))
        return fields(index, ids, *more)

    monkeypatch.setattr(AttachedIndex, "fields", watched)
    hits = opened.search("otters by day", 3, filter={"topic": "otter"}).hits
    assert [hit.fields for hit in hits] == [
        {"number": int(hit.doc_id[-1]), "topic": "otter"} for hit in hits
    ]
    assert opened.search("otters", filter={"number": 99}).hits == ()
    assert asked == [3]


class Away(Stage):
    """Holds a cluster still from here on, until the test lets it go."""

    def __init__(self, cluster: Any, until: ExitStack) -> None:
        self.cluster, self.until = cluster, until

    def __call__(self, ranking: Ranking) -> Ranking:
        self.until.enter_context(self.cluster.frozen())
        return ranking


def test_hits_come_without_fields_where_the_cluster_gives_none_in_time(
    cluster: Any, opened: AttachedCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened._index, "fields_apart", True)
    with ExitStack() as until:
        result = opened.search("otters", 3, deadline_ms=1000, then=[Away(cluster, until)])
    assert [(hit.title[:6], hit.fields) for hit in result.hits] == 3 * [("report", {})]
    assert result.degraded[-1].startswith("without the documents' fields: Elasticsearch at http")


def test_phrases_exclusions_bounds_and_pages_are_the_clusters(opened: AttachedCollection) -> None:
    marked = ids(opened.search('otter "day 3" -piano', 20))
    assert "otter-3" in marked
    assert {doc_id.partition("-")[2] for doc_id in marked} == {"3"}
    assert "piano-3" not in marked
    whole = ids(opened.search("otter day", 20))
    first = opened.search("otter day", 7)
    rest = opened.search("otter day", 13, cursor=first.next_cursor)
    assert ids(first) + ids(rest) == whole
    asked = Asked(query="otter piano", k=20, within={"topic": "otter"})
    assert {doc_id.partition("-")[0] for doc_id in ids(opened.ask(asked))} == {"otter"}
    with pytest.raises(NotFound):
        opened.document("piano-1", within={"topic": "otter"})
    assert "otter-1" not in ids(opened.similar("otter-1", 5))
    assert ids(opened.similar("otter-1", 5))[0].startswith("otter-")


def test_elasticsearch_counts_all_matches_and_the_values_of_fields(
    opened: AttachedCollection,
) -> None:
    assert opened.facet_fields == ("topic",)
    assert opened.sort_fields == ()
    # six reports of each topic, of days 0 to 5; ties by value
    result = opened.search("otter comet", 2, facets=["topic", "number"])
    assert result.total == 12
    assert [(v.value, v.count) for v in result.facets["topic"]] == [("comet", 6), ("otter", 6)]
    assert [(v.value, v.count) for v in result.facets["number"]] == [(n, 2) for n in range(6)]
    assert [stage.name for stage in result.stages][-2:] == ["matches", "page"]
    narrowed = opened.search(
        'otter comet -"day 3"', 2, filter={"number": {"gte": 2}}, facets=["topic"], count=True
    )
    assert narrowed.total == 6
    assert [(v.value, v.count) for v in narrowed.facets["topic"]] == [("comet", 3), ("otter", 3)]
    within = {"topic": "otter"}
    bounded = opened.ask(Asked(query="otter comet", facets=("topic",), within=within))
    assert [(v.value, v.count) for v in bounded.facets["topic"]] == [("otter", 6)]
    assert opened.num_within(within) == 6


def test_a_facet_that_cannot_be_counted_and_an_order_by_a_field_are_refused(
    opened: AttachedCollection,
) -> None:
    for more, says in (
        ({"sort": "number"}, "ask Elasticsearch for it"),
        ({"facets": ["topik"]}, "did you mean 'topic'"),
        ({"facets": ["body"]}, "holds text, whose values are not counted"),
    ):
        with pytest.raises(InputError, match=says):
            opened.search("otter", **more)  # type: ignore[arg-type]
    assert opened.complete("rep") == []


def test_a_new_sample_keeps_the_ranker_and_an_index_that_is_gone_is_said(
    folder: Path, opened: AttachedCollection, ask: Callable[..., Any]
) -> None:
    from rankwell.indexer.job import index_collection

    index = opened.config.elasticsearch.index
    assert index_collection(folder).published is False
    ask(lambda c: c.index(index=index, id="more", document=source("tulip", 9), refresh=True))
    report = index_collection(folder)
    assert (report.published, report.counts.live, report.counts.added) == (True, 49, 1)
    with rankwell.open(folder) as again:
        assert again.stage_names == ("lexical", "fused", "ranked")
        assert np.isfinite(again.search("tulip").hits[0].score)
    ask(lambda c: c.indices.delete(index=index))
    with pytest.raises(MissingIndex, match="no such index"):
        opened.search("otter")
    with pytest.raises(InputError, match="check the name of the index"):
        rankwell.open(folder)
