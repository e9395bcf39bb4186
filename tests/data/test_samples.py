"""The sample collections are in the package, and are what their README says."""

from importlib.resources import files
from pathlib import Path

import pytest

from rankwell.data.config import DocumentsConfig
from rankwell.data.judgments import read_judgments
from rankwell.data.readers import read_documents, read_queries
from rankwell.data.records import Document

SAMPLES = Path(str(files("rankwell.data"))) / "samples"
README = (SAMPLES / "README.md").read_text(encoding="utf-8")


def documents_of(collection: str) -> dict[str, Document]:
    records = [
        r for _, r in read_documents(SAMPLES / collection / "corpus.jsonl.gz", DocumentsConfig())
    ]
    documents = {record.doc_id: record for record in records if isinstance(record, Document)}
    assert len(documents) == len(records), "every record is a document with an id of its own"
    return documents


@pytest.mark.parametrize(
    ("collection", "num_docs", "empty"),
    [("cranfield", 1400, {"471", "995"}), ("wikipedia", 10033, set())],
)
def test_a_collection_has_the_documents_that_the_readme_counts(
    collection: str, num_docs: int, empty: set[str]
) -> None:
    documents = documents_of(collection)
    assert len(documents) == num_docs
    assert f"{num_docs:,} documents" in README
    assert {d.doc_id for d in documents.values() if not d.text.strip()} == empty


def test_every_wikipedia_article_has_a_title_and_a_category() -> None:
    documents = documents_of("wikipedia").values()
    assert all(d.title and isinstance(d.fields["category"], str) for d in documents)


def test_cranfields_judgments_speak_of_its_queries_and_documents_and_split_the_queries() -> None:
    queries = {query.query_id for query in read_queries(SAMPLES / "cranfield" / "queries.jsonl")}
    splits = [read_judgments(SAMPLES / f"cranfield/qrels/{name}.tsv") for name in ("train", "test")]
    judged = [{judgment.query_id for judgment in split} for split in splits]
    assert len(queries) == 225
    assert "225 queries" in README
    assert judged[0] | judged[1] == queries
    assert not judged[0] & judged[1]
    judgments = splits[0] + splits[1]
    assert {judgment.doc_id for judgment in judgments} <= set(documents_of("cranfield"))
    assert {judgment.relevance for judgment in judgments} <= {1, 2, 3, 4, 5}
