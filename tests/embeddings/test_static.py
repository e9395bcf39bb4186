"""Static encoders: one table, the same vectors from texts and from a forward index, saved whole."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rankwell.data.errors import DamagedVersion
from rankwell.data.forward import ForwardIndex
from rankwell.embeddings import static as static_module
from rankwell.embeddings.encoder_files import SUMMARY, TABLE, WORD_VECTORS, WORDS
from rankwell.embeddings.static import StaticEncoder
from rankwell.embeddings.word_vectors import WordVectors

Forward = Callable[..., ForwardIndex]

TABLE_VD = np.array([[3, 0], [0, 4], [-3, 0]], np.float32)


def hand_made(words: tuple[str, ...] = ("red", "blue", "cyan")) -> StaticEncoder:
    trained = WordVectors(words, np.array([3, 2, 2]), np.eye(3, dtype=np.float32))
    return StaticEncoder.of(trained, TABLE_VD, "static", {"epochs": 1})


def test_a_text_is_the_sum_of_its_words_rows_at_length_one() -> None:
    texts = ["Red, blue unheard", "blue", "red & cyan", "unheard", ""]
    expected = [[0.6, 0.8], [0, 1], [0, 0], [0, 0], [0, 0]]
    np.testing.assert_allclose(hand_made().encode_queries(texts), expected, atol=1e-6)
    np.testing.assert_array_equal(
        hand_made().encode_documents(texts), hand_made().encode_queries(texts)
    )
    assert hand_made().encode_queries([]).shape == (0, 2)
    assert hand_made().encode_queries(texts).dtype == np.float32
    assert hand_made().dimensions == 2


def test_a_text_encodes_as_its_row_of_the_forward_index(
    forward_of: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static_module, "_CHUNK_DOCS", 2)  # chunks of 2, 2 and 1 documents
    pairs = [("A red", "of some blue"), ("", "blue of others"), ("", ""), ("Red", ""), ("x", "y")]
    forward = forward_of(*pairs)
    rows_ND = hand_made().encode_forward(forward)
    texts = [f"{title}\n{text}" for title, text in pairs]
    np.testing.assert_array_equal(hand_made().encode_documents(texts), rows_ND)
    assert np.linalg.norm(rows_ND, axis=1).tolist() == pytest.approx([1, 1, 0, 1, 0])
    chosen = np.array([3, 0, 1])
    np.testing.assert_array_equal(hand_made().encode_forward(forward, chosen), rows_ND[chosen])
    assert hand_made().encode_forward(forward_of()).shape == (0, 2)


def test_words_of_names_the_trained_word_of_each_surface_form(forward_of: Forward) -> None:
    forward = forward_of("cyan unknown unknown", "red")
    found = hand_made().word_vectors.words_of(forward).tolist()
    assert dict(zip(forward.vocabulary.surfaces, found, strict=True)) == {
        "unknown": -1,
        "cyan": 2,
        "red": 0,
    }
    assert hand_made().known_words("Cyan, of RED").tolist() == [2, 0]


def test_a_saved_encoder_loads_to_the_last_bit(tmp_path: Path) -> None:
    encoder = hand_made(("naïve", "東", "strasse"))
    encoder.save(tmp_path / "new" / "encoder")
    loaded = StaticEncoder.load(tmp_path / "new" / "encoder")
    assert loaded.word_vectors.words == encoder.word_vectors.words
    assert (loaded.fingerprint, loaded.kind, loaded.facts) == (
        encoder.fingerprint,
        "static",
        {"epochs": 1},
    )
    texts = ["Naïve 東京", "Straße", ""]
    for name, ours in (
        ("table", lambda e: e.table_UD),
        ("vectors", lambda e: e.word_vectors.vectors_VD),
        ("counts", lambda e: e.word_vectors.counts_V),
        ("queries", lambda e: e.encode_queries(texts)),
    ):
        assert ours(loaded).tobytes() == ours(encoder).tobytes(), name


def test_the_fingerprint_is_the_same_for_the_same_encoder_only() -> None:
    encoder, trained = hand_made(), hand_made().word_vectors
    nudged = TABLE_VD.copy()
    nudged[0, 0] = np.nextafter(np.float32(3), np.float32(4))
    variants = {
        "the encoder": encoder,
        "a row": StaticEncoder.of(trained, nudged, "static", {}),
        "a vector": StaticEncoder.of(
            dataclasses.replace(trained, vectors_VD=2 * trained.vectors_VD), TABLE_VD, "static", {}
        ),
        "a count": StaticEncoder.of(
            dataclasses.replace(trained, counts_V=np.array([3, 2, 1])), TABLE_VD, "static", {}
        ),
        "a word": hand_made(("red", "blue", "grey")),
        "the kind": StaticEncoder.of(trained, TABLE_VD, "sif", {}),
    }
    fingerprints = {name: variant.fingerprint for name, variant in variants.items()}
    assert len(set(fingerprints.values())) == len(fingerprints), fingerprints
    assert hand_made().fingerprint == fingerprints["the encoder"]


@pytest.mark.parametrize("name", [TABLE, WORD_VECTORS, WORDS, SUMMARY])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_damaged_encoder_does_not_load(tmp_path: Path, name: str, damage: str) -> None:
    hand_made().save(tmp_path / "encoder")
    path = tmp_path / "encoder" / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(DamagedVersion, match="encoder"):
        StaticEncoder.load(tmp_path / "encoder")


def test_an_encoder_of_another_format_is_named(tmp_path: Path) -> None:
    hand_made().save(tmp_path)
    path = tmp_path / SUMMARY
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 1'))
    with pytest.raises(DamagedVersion, match="it has format 1, this rankwell reads 2"):
        StaticEncoder.load(tmp_path)


def test_the_card_says_what_the_encoder_learnt_from(tmp_path: Path) -> None:
    hand_made().save(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "# A static encoder of 3 words and 2 dimensions" in card
    assert "| epochs | 1 |" in card
    assert card.startswith("---\nlibrary_name: sentence-transformers\n")
