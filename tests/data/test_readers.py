"""Files become records; what is no record comes out with its line and reason, never silently."""

import gzip
import json
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rankwell.data.config import DocumentsConfig
from rankwell.data.errors import InputError
from rankwell.data.judgments import read_judgments
from rankwell.data.readers import document_files, read_documents, read_queries
from rankwell.data.records import Document, Query, Rejected


def documents(path: Path, **config: Any) -> list[Document | Rejected]:
    return [record for _, record in read_documents(path, DocumentsConfig(**config))]


def from_line(folder: Path, record: Any, **config: Any) -> Document | Rejected:
    path = folder / "one.jsonl"
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    [found] = documents(path, **config)
    return found


def file_name(value: object) -> str:
    """What a case is called in pytest's report."""
    return value if isinstance(value, str) else "-"


JSONL = b'{"_id": "d1", "title": "T", "text": "one", "year": 1958}\n{"_id": "d2", "text": "two"}\n'
CSV = b"_id,title,text,year\nd1,T,one,1958\nd2,,two,\n"

NUMBERED = [Document("d1", "one", "T", {"year": 1958}), Document("d2", "two")]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", JSONL, NUMBERED),
        ("a.ndjson", JSONL, NUMBERED),
        ("a.jsonl.gz", gzip.compress(JSONL, mtime=0), NUMBERED),
        (
            "members.jsonl.gz",
            gzip.compress(JSONL[:57], mtime=0) + gzip.compress(JSONL[57:], mtime=0),
            NUMBERED,
        ),
        ("a.JSONL.GZ", gzip.compress(JSONL, mtime=0), NUMBERED),
        ("a.jsonl.zst", zstandard.compress(JSONL), NUMBERED),
        (
            "frames.jsonl.zst",
            zstandard.compress(JSONL[:57]) + zstandard.compress(JSONL[57:]),
            NUMBERED,
        ),
        ("bom.jsonl", b"\xef\xbb\xbf" + JSONL, NUMBERED),
        ("crlf.jsonl", JSONL.replace(b"\n", b"\r\n\r\n"), NUMBERED),
        ("no newline at the end.jsonl", JSONL[:-1], NUMBERED),
        ("a.csv", CSV, NUMBERED),
        ("a.csv.gz", gzip.compress(CSV, mtime=0), NUMBERED),
        ("a.csv.zst", zstandard.compress(CSV), NUMBERED),
        ("a.tsv", CSV.replace(b",", b"\t"), NUMBERED),
        ("bom.csv", b"\xef\xbb\xbf" + CSV, NUMBERED),
        ("crlf.csv", CSV.replace(b"\n", b"\r\n\r\n"), NUMBERED),
        ("quoted.csv", b'_id,text\nd1,"a, ""b""\nc"\n', [Document("d1", 'a, "b"\nc')]),
        ("empty.jsonl", b"", []),
        ("empty.csv", b"", []),
    ],
    ids=file_name,
)
def test_every_format_gives_its_documents(
    tmp_path: Path, name: str, content: bytes, expected: list[Document]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert documents(tmp_path / name) == expected


def test_parquet_keeps_types_and_leaves_out_what_is_missing(tmp_path: Path) -> None:
    table = pa.table(
        {
            "_id": [7, 8],
            "text": ["one", "two"],
            "year": [1958, None],
            "tags": [["a", "b"], None],
            "metadata": [{"open": True, "share": None}, {"open": None, "share": 0.5}],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert documents(tmp_path / "a.parquet") == [
        Document("7", "one", "", {"year": 1958, "tags": ["a", "b"], "open": True}),
        Document("8", "two", "", {"share": 0.5}),
    ]


def test_a_date_becomes_its_iso_text(tmp_path: Path) -> None:
    table = pa.table({"_id": ["1"], "text": [""], "day": [date(2020, 1, 2)]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert documents(tmp_path / "a.parquet") == [Document("1", "", "", {"day": "2020-01-02"})]


FIELD_NAMES = st.text("abcxyz", min_size=1, max_size=4)
METADATA = st.dictionaries(
    FIELD_NAMES,
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.lists(st.text("abé", max_size=3), max_size=3),
    max_size=4,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(TEXT.filter(str.strip), TEXT, TEXT, METADATA), max_size=5))
def test_json_lines_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, str, str, dict[str, Any]]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.jsonl"
    lines = [
        json.dumps({"_id": doc_id, "title": title, "text": text, "metadata": metadata})
        for doc_id, title, text, metadata in records
    ]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    assert documents(path) == [Document(i, text, title, m) for i, title, text, m in records]


@pytest.mark.parametrize(
    ("record", "config", "expected"),
    [
        ({"id": 5, "text": "x"}, {}, Document("5", "x")),
        ({"doc_id": "5"}, {}, Document("5", "")),
        ({"_id": "a", "text": None, "year": None}, {}, Document("a", "")),
        ({"key": "a", "_id": "b"}, {"id_field": "key"}, Document("a", "", "", {"_id": "b"})),
        (
            {"_id": "a", "h1": "A", "h2": "B", "abstract": "x", "body": "y"},
            {"title_fields": ("h1", "h2"), "text_fields": ("abstract", "body")},
            Document("a", "x\ny", "A B"),
        ),
        (
            {"_id": "a", "metadata": {"year": 1, "tags": ["x"], "deep": {"k": [1]}}, "mixed": [1]},
            {},
            Document("a", "", "", {"year": 1, "tags": ["x"], "deep": '{"k":[1]}', "mixed": "[1]"}),
        ),
    ],
)
def test_a_record_becomes_a_document_as_configured(
    tmp_path: Path, record: dict[str, Any], config: dict[str, Any], expected: Document
) -> None:
    assert from_line(tmp_path, record, **config) == expected


@pytest.mark.parametrize(
    ("name", "bad", "reason"),
    [
        ("a.jsonl", b'{"_id": "x"', "not JSON: .* at column 12"),
        ("a.jsonl", b'{"_id": "x", "n": NaN}', "not JSON"),
        ("a.jsonl", b'{"_id": "x", "text": "\\ud800"}', "not JSON"),
        ("a.jsonl", b'{"_id": "caf\xe9"}', "not UTF-8: byte 0xe9 at column 13"),
        ("a.jsonl", b"[1, 2]", "not a JSON object"),
        ("a.jsonl", b'{"text": "x"}', "no id; expected one of _id, id, doc_id"),
        ("a.jsonl", b'{"_id": " "}', "the id in '_id' is ' '"),
        ("a.jsonl", b'{"_id": 1.5}', "the id in '_id' is 1.5"),
        ("a.jsonl", b'{"_id": true}', "the id in '_id' is True"),
        ("a.jsonl", b'{"_id": null}', "the id in '_id' is None"),
        ("a.jsonl", b'{"_id": "x", "text": 5}', "'text' is a int, expected a string"),
        ("a.csv", b"x", "1 columns, where the header has 2"),
        ("a.csv", b"x,one,two", "3 columns, where the header has 2"),
        ("a.csv", b"x,caf\xe9", "not UTF-8"),
        ("a.csv", b",text", "no id; expected one of _id, id, doc_id"),
    ],
    ids=str,
)
def test_one_bad_record_is_rejected_with_its_line_and_the_others_are_read(
    tmp_path: Path, name: str, bad: bytes, reason: str
) -> None:
    good = [b'{"_id": "1"}', b'{"_id": "2"}'] if name == "a.jsonl" else [b"_id,text\n1,", b"2,"]
    path = tmp_path / name
    path.write_bytes(b"\n".join([good[0], bad, good[1]]) + b"\n")
    first, rejected, last = documents(path)
    assert (first, last) == (Document("1", ""), Document("2", ""))
    assert isinstance(rejected, Rejected)
    assert (rejected.file, rejected.line) == (str(path), 2 if name == "a.jsonl" else 3)
    assert re.search(reason, rejected.reason)


def test_the_line_of_a_csv_record_counts_the_lines_inside_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('_id,text\n1,"a\nb\nc"\n2,x,y\n')
    assert [r.line for r in documents(tmp_path / "a.csv") if isinstance(r, Rejected)] == [5]


# No two lines alike, so that the compressed file is long enough to be cut anywhere.
LONG = b"".join(b'{"_id": "%d", "text": "%d"}\n' % (n, n**30) for n in range(500))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("truncated.jsonl.gz", gzip.compress(LONG, mtime=0)[:-400]),
        ("without its end.jsonl.gz", gzip.compress(LONG, mtime=0)[:-8]),
        ("flipped.jsonl.gz", gzip.compress(LONG, mtime=0)[:-6] + b"\0" * 6),
        ("no gzip.jsonl.gz", LONG),
        ("truncated.jsonl.zst", zstandard.compress(LONG)[:-400]),
        ("without its end.jsonl.zst", zstandard.compress(LONG)[:-1]),
        ("no zstd.jsonl.zst", LONG),
        ("truncated.csv.gz", gzip.compress(b"_id,text\n" + LONG, mtime=0)[:-400]),
        ("truncated.parquet", b"PAR1 and no more"),
        ("folder.jsonl", None),
        ("absent.jsonl", None),
        ("absent.csv", None),
        ("absent.parquet", None),
        ("unclosed quote.csv", b'_id,text\n1,"one\n2,two\n3,three\n'),
        ("unclosed quote.tsv", b'_id\ttext\n1\t"one\n2\ttwo\n3\tthree\n'),
        ("latin-1 header.csv", b"_id,text,caf\xe9\n1,one,x\n"),
        ("column named twice.csv", b"_id,text,text\n1,one,two\n"),
    ],
    ids=file_name,
)
def test_a_file_that_cannot_be_read_whole_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    elif name.startswith("folder"):
        path.mkdir()
    with pytest.raises(InputError, match=name):
        documents(path)


@pytest.mark.parametrize("reader", [read_queries, read_judgments])
@pytest.mark.parametrize("fault", ["absent", "truncated"])
def test_queries_and_judgments_that_cannot_be_read_whole_are_refused(
    tmp_path: Path, reader: Any, fault: str
) -> None:
    path = tmp_path / "records.gz"
    lines = b"".join(b"%d\t%d\t1\n" % (n, n**30) for n in range(500))
    if fault == "truncated":
        path.write_bytes(gzip.compress(lines, mtime=0)[:-400])
    with pytest.raises(InputError, match=r"records\.gz"):
        reader(path)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["a.jsonl"], ["a.jsonl"]),
        (["b.csv", "a.jsonl"], ["b.csv", "a.jsonl"]),
        (["*.jsonl*"], ["a.jsonl", "c.jsonl.gz"]),
        (["deep"], ["deep/d.parquet", "deep/er/e.TSV"]),
        (["**/*.parquet"], ["deep/d.parquet"]),
        (["."], ["a.jsonl", "b.csv", "c.jsonl.gz", "deep/d.parquet", "deep/er/e.TSV"]),
    ],
)
def test_sources_are_files_folders_and_patterns(
    tmp_path: Path, sources: Sequence[str], expected: list[str]
) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    names = ["a.jsonl", "b.csv", "c.jsonl.gz", "deep/d.parquet", "deep/er/e.TSV", "deep/notes.md"]
    for name in names:
        (tmp_path / name).touch()
    assert document_files(sources, tmp_path) == [tmp_path / name for name in expected]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], r"no documents are configured; name files in \[documents\] sources"),
        (["absent.jsonl"], "there is no document file at .*absent.jsonl"),
        (["*.parquet"], "there is no document file at"),
        (["empty"], "there is no document file at .*empty"),
        (["notes.md"], "notes.md has no known format; expected .*.jsonl"),
        (["backup.gz"], "backup.gz has no known format"),
    ],
)
def test_sources_that_name_no_documents_are_refused(
    tmp_path: Path, sources: Sequence[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.md").touch()
    (tmp_path / "backup.gz").touch()
    with pytest.raises(InputError, match=message):
        document_files(sources, tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.jsonl", b'{"_id": "1", "text": "what flows"}\n\n{"_id": 2, "text": "{why}"}\n'),
        ("q.jsonl.gz", gzip.compress(b'{"id": 1, "text": "what flows"}\n2\t{why}\n', mtime=0)),
        ("q.tsv", b"\xef\xbb\xbf1\twhat flows\r\n2\t{why}\r\n"),
    ],
)
def test_queries_are_read_from_json_lines_and_tabs(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_queries(tmp_path / name) == [Query("1", "what flows"), Query("2", "{why}")]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (b'{"_id": "1", "text": "again"}', "line 2: query id '1' comes twice"),
        (b"1\tagain", "line 2: query id '1' comes twice"),
        (b'{"_id": "2"}', "line 2: the query has no text"),
        (b'{"text": "x"}', "line 2: no id"),
        (b'{"_id": "2", "text": "x"', "line 2: .*expected a JSON object with _id and text"),
        (b"two words", "line 2: found 'two words'; expected"),
        (b"2\tcaf\xe9", "line 2: .*utf-8"),
    ],
)
def test_a_line_that_is_no_query_is_refused_with_its_number(
    tmp_path: Path, second: bytes, message: str
) -> None:
    (tmp_path / "q.jsonl").write_bytes(b'{"_id": "1", "text": "x"}\n' + second + b"\n")
    with pytest.raises(InputError, match=message):
        read_queries(tmp_path / "q.jsonl")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("2001", 2001),
        ("-7", -7),
        ("2.50", 2.5),
        ("True", True),
        ("false", False),
        ("007", "007"),  # a number would lose its zeros
        ("1e5", "1e5"),
        ("1,5", "1,5"),
        ("nan", "nan"),
        ("9" * 19, "9" * 19),
    ],
)
def test_cells_of_a_table_are_numbers_and_truth_values_where_they_are_written_so(
    tmp_path: Path, cell: str, value: object
) -> None:
    (tmp_path / "a.csv").write_text(f'_id,title,text,more\n1,2,3,"{cell}"\n')
    [document] = documents(tmp_path / "a.csv")
    assert document == Document("1", "3", "2", {"more": value})
    assert type(document.fields["more"]) is type(value)
