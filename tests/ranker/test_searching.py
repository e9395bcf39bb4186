"""What a search can be asked, over Cranfield and over a few documents with fields of all types."""

import json
import re

import numpy as np
import pytest
from tests.conftest import small_config

import rankwell
from rankwell.data.config import DocumentsConfig, render_config
from rankwell.data.errors import FilterError, InputError, NotFound, StaleCursor
from rankwell.data.records import Document
from rankwell.indexer.job import index_collection

QUERY = "heat transfer in a boundary layer"
STORY = "a long story of how the old wind tunnel was built by many hands over seven winters"
RECORDS = [
    {"_id": "a", "title": "Wind tunnel", "text": STORY, "metadata": {"year": 1904, "kind": "tale"}},
    {"_id": "b", "title": "Wind tunnel", "text": STORY + " indeed", "metadata": {"year": 1905}},
    {"_id": "c", "title": "Tunnels", "text": "tunnel of a mole", "metadata": {"kind": "tale"}},
    {"_id": "d", "title": "Wing", "text": "the wing in the wind", "metadata": {"year": 1899}},
    {"_id": "e", "title": "Bread", "text": "flour and water", "metadata": {"year": 1904}},
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, RECORDS)))
    documents = DocumentsConfig(sources=("corpus.jsonl",))
    (folder / "rankwell.toml").write_text(render_config(small_config(documents=documents)))
    index_collection(folder)
    return folder


@pytest.fixture(scope="module")
def library(built):
    with rankwell.open(built) as collection:
        yield collection


def ids(result):
    return [hit.doc_id for hit in result.hits]


@pytest.mark.parametrize(
    "more", [{}, {"stage": "lexical"}, {"collapse": True}, {"sort": "-author"}]
)
def test_pages_of_any_size_continue_each_other(cranfield, more):
    whole = cranfield.search(QUERY, 40, **more)
    found, ranks, cursor = [], [], None
    for k in (1, 9, 17, 13):
        page = cranfield.search(QUERY, k, cursor=cursor, **more)
        found += [(hit.doc_id, hit.score) for hit in page.hits]
        ranks += [hit.rank for hit in page.hits]
        cursor = page.next_cursor
    assert found == [(hit.doc_id, hit.score) for hit in whole.hits]
    assert ranks == list(range(1, 41))


def test_the_last_page_has_no_cursor(library):
    first = library.search("wind tunnel", 3)
    rest = library.search("wind tunnel", 100, cursor=first.next_cursor)
    assert rest.next_cursor is None
    assert sorted(ids(first) + ids(rest)) == sorted(ids(library.search("wind tunnel", 100)))


def test_a_cursor_goes_with_its_search_alone(cranfield):
    cursor = cranfield.search(QUERY, 5).next_cursor
    for other in ({"filter": {"author": "ting-yili"}}, {"stage": "fused"}, {"sort": "author"}):
        with pytest.raises(InputError, match="belongs to another search"):
            cranfield.search(QUERY, 5, cursor=cursor, **other)
    with pytest.raises(InputError, match="belongs to another search"):
        cranfield.search("another", 5, cursor=cursor)


def test_a_cursor_of_another_version_is_stale(two_versions):
    with rankwell.open(two_versions, "000001") as one, rankwell.open(two_versions, "000002") as two:
        cursor = one.search("a wing", 5).next_cursor
        with pytest.raises(StaleCursor, match="start again"):
            two.search("a wing", 5, cursor=cursor)


def test_what_comes_between_two_pages_neither_repeats_nor_hides_a_hit(built, tmp_path):
    with rankwell.open(built) as library:
        before = ids(library.search("wind tunnel", 5))
        page = library.search("wind tunnel", 2)
        library.put([Document("new", STORY, "Wind tunnel")])
        try:
            assert (
                ids(library.search("wind tunnel", 1)) == ["new"]
                or ids(library.search("wind tunnel", 2)) != before[:2]
            )
            rest = library.search("wind tunnel", 5, cursor=page.next_cursor)
            assert ids(rest) == before[2:]
        finally:
            library.journal.withdraw(["new"])


def test_phrases_must_occur_and_excluded_words_must_not(library):
    assert set(ids(library.search('"wind tunnel"'))) == {"a", "b"}
    assert set(ids(library.search("wind -tunnel"))) == {"d", "e"}  # tunnels too
    assert set(ids(library.search('wind tunnel -"over seven"'))) == {"c", "d", "e"}
    assert set(ids(library.search('"seven winters" -indeed'))) == {"a"}
    nothing = library.search('"tunnel wind"')
    assert (ids(nothing), nothing.degraded) == (
        [],
        ("no document passes the filter, has the quoted phrases and lacks the excluded words",),
    )
    with pytest.raises(InputError, match="only says what must not occur"):
        library.search("-wind")


def test_marks_change_no_score(cranfield):
    plain = {hit.doc_id: hit.score for hit in cranfield.search("boundary layer heat", 200).hits}
    marked = cranfield.search('"boundary layer" heat -mach', 50)
    assert len(marked.hits) == 50
    for hit in marked.hits:
        if hit.doc_id in plain:
            assert hit.score == plain[hit.doc_id]


def test_matches_are_the_documents_with_a_word_of_the_query(cranfield):
    result = cranfield.search(QUERY, 1, count=True, facets=["author"])
    analysed = cranfield.analyzer.query(QUERY)
    words = {
        row
        for row in range(cranfield.pool.forward.num_rows)
        if set(analysed.terms)
        & {
            cranfield.pool.forward.vocabulary.terms[term]
            for term in cranfield.pool.forward.vocabulary.term_V[
                cranfield.pool.forward.document(row)
            ]
            if term >= 0
        }
    }
    assert result.total == len(words)
    authors = [cranfield.documents[row].fields.get("author") for row in words]
    for value in result.facets["author"]:
        assert authors.count(value.value) == value.count
    assert result.facets["author"][0].count == max(authors.count(a) for a in set(authors) - {None})


def test_nothing_is_counted_unless_asked_for(library):
    result = library.search("wind")
    assert (result.total, result.facets) == (None, {})
    assert "matches" not in [stage.name for stage in result.stages]
    found = library.search("wind", count=True)
    assert (found.total, len(found.hits)) == (3, 5)  # two of them by meaning alone


def test_a_filter_bounds_matches_and_facets(library):
    result = library.search("wind tunnel", filter={"kind": "tale"}, facets=["year", "kind"])
    assert result.total == 2
    assert {n: [(v.value, v.count) for v in vs] for n, vs in result.facets.items()} == {
        "year": [(1904, 1)],
        "kind": [("tale", 2)],
    }


def test_a_count_is_what_a_filter_by_its_value_leaves(cranfield):
    facets = cranfield.search("wing flow", facets=["author"]).facets["author"]
    for value in facets[:8]:
        left = cranfield.search("wing flow", filter={"author": value.value}, count=True)
        assert left.total == value.count


def test_sorting_orders_all_matches_and_keeps_their_scores(library):
    by_rank = {hit.doc_id: hit.score for hit in library.search("wind tunnel").hits}
    result = library.search("wind tunnel", sort="year")
    assert ids(result) == ["d", "a", "b", "c"]
    assert all(hit.score == by_rank[hit.doc_id] for hit in result.hits)
    assert ids(library.search("wind tunnel", sort="-year", filter={"kind": "tale"})) == ["a", "c"]
    with pytest.raises(InputError, match="leave out sort or collapse"):
        library.search("wind", sort="year", collapse=True)


def test_near_duplicates_collapse_into_the_best_of_them(library):
    plain, collapsed = library.search("wind tunnel"), library.search("wind tunnel", collapse=True)
    assert set(ids(plain)[:2]) == {"a", "b"}
    other = ids(plain)[1]
    assert ids(collapsed) == [i for i in ids(plain) if i != other]
    assert [hit.duplicates for hit in collapsed.hits] == [(other,), (), (), ()]
    assert [hit.rank for hit in collapsed.hits] == [1, 2, 3, 4]


def test_each_stage_can_be_looked_at(cranfield):
    run = cranfield.stage_runs({"q": QUERY})
    for stage in cranfield.stage_names:
        result = cranfield.search(QUERY, 20, stage=stage)
        assert ids(result) == run.runs[stage]["q"][:20]
    names = [stage.name for stage in cranfield.search(QUERY, stage="dense").stages]
    assert names == ["query", "dense", "page"]
    with pytest.raises(InputError, match="no stage 'rankd'; did you mean 'ranked'") as caught:
        cranfield.search(QUERY, stage="rankd")
    assert caught.value.field == "stage"


def test_a_deadline_skips_stages_and_the_next_page_keeps_the_order(cranfield):
    for _ in range(3):
        cranfield.search(QUERY)
    found = cranfield.candidates(QUERY)
    lexical = set(cranfield.doc_ids(found, found.trail[0].rows_K))
    hurried = cranfield.search(QUERY, 6, deadline_ms=0.001)
    assert hurried.degraded[0] == "dense was skipped: it would have missed the deadline"
    assert hurried.degraded[1].startswith("not ranked: the deadline left 0.0 ms, and 10 candidates")
    assert len(hurried.degraded) == 2
    assert set(ids(hurried)) <= set(ids(cranfield.search(QUERY, 200, stage="lexical")))
    rest = cranfield.search(QUERY, 6, cursor=hurried.next_cursor, deadline_ms=0.001)
    assert rest.degraded == ("dense was skipped, as on the page before",)
    assert (
        ids(hurried) + ids(rest)
        == [
            doc_id
            for doc_id in ids(cranfield.search(QUERY, 200, stage="fused"))
            if doc_id in lexical
        ][:12]
    )
    with pytest.raises(InputError, match="21 facets are asked for; the most is 20"):
        cranfield.search(QUERY, facets=["author"] * 21)
    with pytest.raises(InputError, match="deadline_ms is 0; it must be above 0"):
        cranfield.search(QUERY, deadline_ms=0)


def test_pages_after_one_that_was_ranked_in_part_go_on_in_its_order(cranfield, monkeypatch):
    fused = cranfield.stages["fused"](cranfield.rank(QUERY))
    sizes_K = cranfield.stages["ranked"].after._sizes(fused)
    # a pace at which half a minute is enough for 150 candidates, and a margin of .3
    monkeypatch.setattr(cranfield._cost, "_pace", 30_000 / sizes_K[149] / 1.3)
    page = cranfield.search(QUERY, 20, deadline_ms=30_000)
    [note] = page.degraded
    num_ranked = int(re.fullmatch(r"ranked (\d+) of 200 .*: the deadline was near", note)[1])
    assert 100 < num_ranked < 200
    rest = cranfield.search(QUERY, 180, cursor=page.next_cursor)
    assert rest.degraded == (f"ranked {num_ranked} of 200 candidates: as for the page before",)
    best = ids(cranfield.search(QUERY, 200, stage="fused"))
    assert sorted(ids(page) + ids(rest)[: num_ranked - 20]) == sorted(best[:num_ranked])
    assert ids(rest)[num_ranked - 20 :] == best[num_ranked:]
    second = cranfield.search(QUERY, 15, cursor=page.next_cursor)
    third = cranfield.search(QUERY, 15, cursor=second.next_cursor)
    assert ids(second) + ids(third) == ids(rest)[:30]


def test_documents_like_one_are_near_it_and_not_it(cranfield, library):
    result = cranfield.similar("1", 10)
    assert "1" not in ids(result)
    assert len(result.hits) == 10
    rows = cranfield.documents.rows_of(["1", *ids(result)])
    vectors_PD = cranfield.pool.vectors.vectors_PD.astype(np.float32)
    vectors = vectors_PD[rows]
    everything = vectors_PD @ vectors[0]
    assert (vectors[1:] @ vectors[0]).mean() > np.quantile(everything, 0.95)
    assert ids(library.similar("a", 1)) == ["b"]
    assert "b" not in ids(library.similar("a", 5, filter={"kind": "tale"}))
    with pytest.raises(NotFound, match="no document 'nobody'"):
        library.similar("nobody")


def test_a_misspelt_query_is_suggested_right(cranfield):
    assert cranfield.search("supersnic boundry layer").suggestion == "supersonic boundary layer"
    assert cranfield.search(QUERY).suggestion is None


def test_what_lies_outside_of_a_bound_does_not_exist(library):
    within = {"kind": "tale"}
    from rankwell.ranker.asking import Asked

    result = library.ask(
        Asked(query="wind tunnel bread", within=within, facets=("year",), filter={"year": 1904})
    )
    assert (ids(result), result.total) == (["a"], 1)
    assert library.document("c", within=within).doc_id == "c"
    with pytest.raises(NotFound, match="no document 'd'"):
        library.document("d", within=within)
    with pytest.raises(NotFound):
        library.similar("d", within=within)
    assert "b" not in ids(library.similar("a", within=within))
    assert library.complete("w", within=within) == ["Wind tunnel"]
    assert library.complete("br", within=within) == []
    assert library.complete("br") == ["Bread"]


def test_bad_asking_names_the_field(cranfield):
    for more, field in (
        ({"k": 0}, "k"),
        ({"facets": ["nope"]}, "facets"),
        ({"sort": "nope"}, "sort"),
        ({"cursor": "x"}, "cursor"),
        ({"deadline_ms": float("nan")}, "deadline_ms"),
    ):
        with pytest.raises(InputError) as caught:
            cranfield.search(QUERY, **more)
        assert caught.value.field == field
    with pytest.raises(InputError, match="more than 50 phrases"):
        cranfield.search('"a" ' * 51)
    with pytest.raises(FilterError):
        cranfield.search(QUERY, filter={"nope": 1})
