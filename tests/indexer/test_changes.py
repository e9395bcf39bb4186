"""What is new: counts that add up, whatever feeds and journal hold."""

from collections.abc import Mapping

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from rankwell.data.documents import content_hash
from rankwell.data.records import Document, Rejected
from rankwell.indexer.changes import Changes, Record


def doc(doc_id: str, text: str = "text", **fields: object) -> Document:
    return Document(doc_id, text, "", fields)  # type: ignore[arg-type]


def feed(*records: Document | Rejected) -> list[Record]:
    return [("feed", line, record) for line, record in enumerate(records, start=1)]


def before(*documents: Document) -> dict[str, bytes]:
    return {document.doc_id: content_hash(document) for document in documents}


def passed(
    records: list[Record],
    journal: Mapping[str, Document | None] = {},
    known: Mapping[str, bytes] = {},
    keep: bool = True,
) -> tuple[Changes, list[str]]:
    """Returns the changes once all is read, and the documents that must be indexed."""
    changes = Changes(records, journal, known, keep)
    told = []
    for document, digest in changes.documents():
        assert digest == content_hash(document) == changes.seen[document.doc_id]
        told.append(f"{document.doc_id} {document.text}")
    return changes, told


A, B, C = doc("a"), doc("b"), doc("c")
BAD = Rejected("feed", 9, "not JSON")


def test_added_changed_unchanged_and_gone_are_told_apart() -> None:
    records = feed(A, doc("b", "new"), doc("d"))
    changes, told = passed(records, known=before(A, B, C))
    assert (changes.added, changes.changed, changes.deleted) == ({"d"}, {"b"}, {"c"})
    assert told == ["b new", "d text"]
    assert (changes.num_read, changes.num_overridden, changes.rejected) == (3, 0, [])
    assert list(changes.seen) == ["a", "b", "d"]


def test_everything_is_indexed_where_nothing_is_kept() -> None:
    changes, told = passed(feed(A, doc("b", "new")), known=before(A, B), keep=False)
    assert told == ["a text", "b new"]
    assert (changes.added, changes.changed, changes.deleted) == (set(), {"b"}, set())


def test_whatever_a_document_contains_changes_it() -> None:
    same = Document("a", "text", "title", {"year": 1})
    others = [
        Document("a", "text.", "title", {"year": 1}),
        Document("a", "text", "Title", {"year": 1}),
        Document("a", "text", "title", {"year": 2}),
        Document("a", "text", "title", {"year": "1"}),
        Document("a", "text", "title", {"years": 1}),
        Document("a", "text", "title"),
    ]
    for other in others:
        assert passed(feed(other), known=before(same))[0].changed == {"a"}
    assert passed(feed(same), known=before(same))[0].changed == set()


def test_journal_entries_stand_in_the_place_of_the_feeds() -> None:
    journal = {"a": doc("a", "by hand"), "b": None, "x": doc("x"), "y": None}
    changes, told = passed(feed(A, B, C, A), journal, before(A, B, C))
    # both records of a are overridden, and so never a repeated id; y was never there
    assert (changes.num_read, changes.num_overridden) == (3, 3)
    assert told == ["a by hand", "x text"]
    assert (changes.added, changes.changed, changes.deleted) == ({"x"}, {"a"}, {"b"})
    assert changes.rejected == []


def test_a_journal_entry_that_is_folded_in_changes_nothing_again() -> None:
    entry = doc("a", "by hand")
    changes, told = passed(feed(A), {"a": entry}, before(entry))
    assert (told, changes.changed, changes.num_read) == ([], set(), 1)


def test_a_repeated_id_is_rejected_where_it_comes_again() -> None:
    changes, told = passed([("one", 3, A), ("two", 7, doc("a", "other"))])
    assert changes.rejected == [Rejected("two", 7, "the id 'a' came before")]
    assert told == ["a text"]
    assert changes.num_read == 2


def test_types_are_those_of_all_documents_also_of_the_unchanged() -> None:
    first, second = doc("a", year=1, tags=["x"]), doc("b", year=0.5, open=True)
    changes, told = passed(feed(first, second), {"c": doc("c", year=2, note="n")}, before(first))
    assert told == ["b text", "c text"]
    assert changes.types.types == {
        "note": pa.string(),
        "open": pa.bool_(),
        "tags": pa.list_(pa.string()),
        "year": pa.float64(),
    }
    assert changes.types.mixed == set()
    mixed = passed(feed(doc("a", year=1), doc("b", year="soon")))[0]
    assert mixed.types.mixed == {"year"}


def test_documents_without_a_text_are_counted() -> None:
    assert passed(feed(A, doc("b", ""), doc("c", "")))[0].num_without_text == 2


def test_progress_is_told_every_thousand_records_and_at_the_end() -> None:
    told: list[tuple[str, int, int | None]] = []
    records = feed(*(doc(str(number)) for number in range(2500)))
    progress = lambda step, done, total=None: told.append((step, done, total))  # noqa: E731
    list(Changes(records, {}, {}, True, progress).documents())
    assert told == [
        ("reading documents", 1000, None),
        ("reading documents", 2000, None),
        ("reading documents", 2500, 2500),
    ]


some_documents = st.builds(doc, st.sampled_from("abcdef"), st.sampled_from(["x", "y", ""]))
some_records = st.lists(some_documents | st.just(BAD), max_size=12)
by_id = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["x", "y", ""]))


@given(records=some_records, put=by_id, gone=st.sets(st.sampled_from("abcdef")), old=by_id)
def test_counts_add_up(
    records: list[Document | Rejected], put: dict[str, str], gone: set[str], old: dict[str, str]
) -> None:
    journal: dict[str, Document | None] = {i: doc(i, text) for i, text in put.items()}
    journal |= dict.fromkeys(gone)
    known = before(*(doc(i, text) for i, text in old.items()))
    for keep in (True, False):
        changes, told = passed(feed(*records), journal, known, keep)
        unchanged = len(changes.seen) - len(changes.added) - len(changes.changed)
        rejected = len(changes.rejected)
        entries = sum(document is not None for document in journal.values())
        assert changes.num_read + changes.num_overridden == len(records) + entries
        assert changes.num_read == (
            len(changes.added) + len(changes.changed) + unchanged + rejected
        )
        assert len(old) + len(changes.added) - len(changes.deleted) == len(changes.seen)
        indexed = changes.seen if not keep else changes.added | changes.changed
        assert sorted(line[0] for line in told) == sorted(indexed)
        # what lives in the end: the first record of each id, unless the journal says otherwise
        wanted: dict[str, str] = {}
        for record in records:
            if isinstance(record, Document) and record.doc_id not in journal:
                wanted.setdefault(record.doc_id, record.text)
        wanted |= {i: d.text for i, d in journal.items() if d is not None}
        assert changes.seen == before(*(doc(i, text) for i, text in wanted.items()))


def test_what_the_engine_could_never_take_is_rejected_from_feeds_and_journal() -> None:
    long, fine = doc("long"), doc("fine")
    changes = Changes(
        feed(long, fine),
        {"longer": doc("longer")},
        before(long),
        keep=True,
        fault_of=lambda document: "too long" if "long" in document.doc_id else None,
    )
    assert [document.doc_id for document, _ in changes.documents()] == ["fine"]
    assert changes.rejected == [
        Rejected("feed", 1, "too long"),
        Rejected("the journal", 0, "too long"),
    ]
    assert (changes.added, changes.deleted) == ({"fine"}, {"long"})
