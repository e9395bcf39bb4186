"""The encoding job: each content is encoded once, also over interruptions and versions."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rankwell.data.documents import DocumentStore, content_hash, spool_documents, write_documents
from rankwell.data.errors import DamagedVersion, InputError
from rankwell.data.records import Document, EncodedPassages
from rankwell.indexer import documents_encoding
from rankwell.indexer.documents_encoding import (
    SPANS_FILE,
    KnownVectors,
    encode_rows,
    open_encoded,
    save_encoded,
)


class Counting:
    """An encoder that gives each word of a text a vector, and counts what it is asked for."""

    vectors_fingerprint = "words"
    dimensions = 2

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode_passages(self, texts: Sequence[str]) -> EncodedPassages:
        self.texts += texts
        words = [text.split("\n")[1].split() for text in texts]
        vectors = [[len(word), float(word[1:])] for of in words for word in of]
        spans = [[3 * i, 3 * i + 2] for of in words for i, _ in enumerate(of)]
        return EncodedPassages(
            np.array(vectors, np.float32),
            np.array([len(of) for of in words]),
            np.array(spans, np.int32),
            np.array(["cut" in text for text in texts], bool),
        )


@pytest.fixture
def encode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Returns a function that encodes texts, two a shard, with its shards in one folder."""
    monkeypatch.setattr(documents_encoding, "SHARD_DOCS", 2)

    def run(encoder: Counting, texts: Sequence[str | Document], **how: Any) -> Any:
        documents = [Document(text, text) if isinstance(text, str) else text for text in texts]
        spool_documents(tmp_path / "spool", documents, map(content_hash, documents))
        write_documents(tmp_path / "documents", [tmp_path / "spool"], {"year": pa.int64()})
        store = DocumentStore(tmp_path / "documents")
        forward: Any = SimpleNamespace(num_rows=len(texts))
        known = how.pop("known", None) or KnownVectors()
        return encode_rows(encoder, forward, store, 0, known, tmp_path / "shards", **how)  # type: ignore[arg-type]

    return run


def test_vectors_belong_to_passages_in_the_order_of_rows(encode: Callable[..., Any]) -> None:
    found = encode(Counting(), ["w1 w2", "w3", "w4"])
    assert found.vectors.vectors_PD.tolist() == [[2, 1], [2, 2], [2, 3], [2, 4]]
    assert found.vectors.starts_N.tolist() == [0, 2, 3, 4]
    assert found.spans_P2.tolist() == [[0, 2], [3, 5], [0, 2], [0, 2]]
    assert (found.num_encoded, found.num_known, found.num_cut) == (3, 0, 0)


def test_an_interrupted_job_goes_on_whatever_the_rows_are_then(
    encode: Callable[..., Any],
) -> None:
    def interrupt(step: str, done: int, total: int | None = None) -> None:
        if done == 4:
            raise KeyboardInterrupt

    first, second = Counting(), Counting()
    with pytest.raises(KeyboardInterrupt):
        encode(first, ["w1", "w2", "w3 w4", "w5", "w6"], progress=interrupt)
    assert len(first.texts) == 4
    found = encode(second, ["w6", "w3 w4", "w9", "w1"])
    assert second.texts == ["\nw6", "\nw9"]
    assert found.vectors.vectors_PD[:, 1].tolist() == [6, 3, 4, 9, 1]
    assert (found.num_encoded, found.num_known) == (2, 2)


def test_what_is_not_read_makes_nothing_new(encode: Callable[..., Any]) -> None:
    encode(Counting(), [Document("1", "w1", "title", {"year": 1990}), Document("2", "w2")])
    again = Counting()
    changed = [
        Document("1", "w1", "title", {"year": 1991}),
        Document("9", "w2"),
        Document("3", "w3"),
    ]
    found = encode(again, [*changed, Document("4", "w1", "other title"), Document("5", "w3")])
    assert again.texts == ["\nw3", "other title\nw1"]
    assert found.vectors.vectors_PD[:, 1].tolist() == [1, 2, 3, 1, 3]
    assert (found.num_encoded, found.num_known) == (2, 3)


def test_a_title_is_one_line(encode: Callable[..., Any]) -> None:
    encoder = Counting()
    found = encode(encoder, [Document("1", "w1 w2", "a\ntitle")])
    assert encoder.texts == ["a title\nw1 w2"]
    assert found.spans_P2.tolist() == [[0, 2], [3, 5]]


@pytest.mark.parametrize("bad", ["wnan", "winf", "w1e6"])
def test_a_vector_that_is_not_finite_is_kept_nowhere(encode: Callable[..., Any], bad: str) -> None:
    with pytest.raises(InputError, match=f"not finite for document '{bad}'; its weights"):
        encode(Counting(), ["w1", "w2", "w3", bad])
    after = Counting()
    encode(after, ["w1", "w2", "w3"])
    assert after.texts == ["\nw3"]  # its shard was refused whole


def test_what_is_cut_is_counted_over_an_interruption(encode: Callable[..., Any]) -> None:
    def interrupt(step: str, done: int, total: int | None = None) -> None:
        if done == 2:
            raise KeyboardInterrupt

    documents = [Document(f"{i}", f"w{i}", "cut" if i < 3 else "") for i in range(5)]
    with pytest.raises(KeyboardInterrupt):
        encode(Counting(), documents, progress=interrupt)
    found = encode(Counting(), documents)
    assert (found.num_known, found.num_cut) == (2, 3)


def test_a_damaged_shard_is_made_again(encode: Callable[..., Any], tmp_path: Path) -> None:
    encode(Counting(), ["w1", "w2", "w3"])
    one, other = sorted((tmp_path / "shards" / "words").iterdir())
    one.write_bytes(one.read_bytes()[:-1])
    other.write_bytes(other.read_bytes()[:-1] + b"\0" + b"x")
    again = Counting()
    assert encode(again, ["w1", "w2", "w3"]).num_encoded == 3
    assert again.texts == ["\nw1", "\nw2", "\nw3"]


def test_another_encoder_takes_nothing_over(encode: Callable[..., Any]) -> None:
    encode(Counting(), ["w1"])
    other = Counting()
    other.vectors_fingerprint = "other"
    assert encode(other, ["w1"]).num_encoded == 1


def test_passages_are_kept_where_there_are_any(encode: Callable[..., Any], tmp_path: Path) -> None:
    several, single = encode(Counting(), ["w1 w2", "w3"]), encode(Counting(), ["w3"])
    save_encoded(tmp_path / "several", several, single)
    save_encoded(tmp_path / "single", single)
    found = open_encoded(tmp_path / "several")
    assert found.spans_P2.tolist() == [[0, 2], [3, 5], [0, 2], [0, 2]]
    assert found.vectors.starts_N.tolist() == [0, 2, 3, 4]
    assert not (tmp_path / "single" / SPANS_FILE).exists()
    assert open_encoded(tmp_path / "single").spans_P2.tolist() == [[0, 0]]
    (tmp_path / "several" / SPANS_FILE).write_bytes(b"")
    with pytest.raises(DamagedVersion, match=r"spans.npy cannot be used"):
        open_encoded(tmp_path / "several")
