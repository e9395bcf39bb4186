import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rankwell.data.errors import DamagedVersion
from rankwell.data.forward import ForwardIndex
from rankwell.embeddings import sif as sif_module
from rankwell.embeddings.sif import SUMMARY, TENSORS, WORDS, SifEncoder
from rankwell.embeddings.word_vectors import WordVectors

Forward = Callable[..., ForwardIndex]

# red occurs 3 times, blue and green twice: 7 words
DOCUMENTS = [("red", "red blue"), ("", "blue green"), ("green", "red")]
COUNTS = {"red": 3, "blue": 2, "green": 2}


def hand_made() -> WordVectors:
    return WordVectors(tuple(COUNTS), np.array([3, 2, 2]), np.eye(3, dtype=np.float32))


def random_vectors(
    forward: ForwardIndex, seed: int = 0, num_words: int | None = None
) -> WordVectors:
    surfaces = forward.vocabulary.surfaces[:num_words]
    vectors_VD = np.random.default_rng(seed).normal(size=(len(surfaces), 6)).astype(np.float32)
    counts_V = np.array(forward.vocabulary.counts_V[:num_words])
    return WordVectors(tuple(surfaces), counts_V, vectors_VD)


def test_the_formula_by_hand_on_three_documents(forward_of: Forward) -> None:
    encoder = SifEncoder.fit(hand_made(), 0.5, forward_of(*DOCUMENTS))
    red, blue, green = (0.5 / (0.5 + count / 7) for count in COUNTS.values())
    sums = np.array([[2 * red, blue, 0], [0, blue, green], [red, 0, green]])
    pooled = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    direction = np.linalg.svd(pooled)[2][0]  # the first right singular vector
    without = pooled - np.outer(pooled @ direction, direction)
    expected = without / np.linalg.norm(without, axis=1, keepdims=True)
    assert abs(encoder.direction_D @ direction) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(encoder.encode_forward(forward_of(*DOCUMENTS)), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_queries(["green, red"]), expected[2:], atol=1e-5)
    assert encoder.dimensions == 3


def test_a_text_encodes_as_its_row_of_the_forward_index(
    forward_of: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sif_module, "_CHUNK_DOCS", 2)  # chunks of 2, 2 and 1 documents
    pairs = [
        ("A title", "of some words"),
        ("", "words of others"),
        ("", ""),
        ("Title", ""),
        ("x", "y"),
    ]
    forward = forward_of(*pairs)
    encoder = SifEncoder.fit(random_vectors(forward, num_words=6), 1e-3, forward)
    rows_ND = encoder.encode_forward(forward)
    texts = [f"{title}\n{text}" for title, text in pairs]
    np.testing.assert_allclose(encoder.encode_documents(texts), rows_ND, atol=1e-5)
    lengths = np.linalg.norm(rows_ND, axis=1)
    has_words = [any(w in encoder.word_vectors for w in text.lower().split()) for text in texts]
    assert has_words[:4] == [True, True, False, True]
    assert lengths.tolist() == pytest.approx([float(has) for has in has_words], abs=1e-5)


@pytest.mark.parametrize("documents", [["alpha beta gamma"], ["alpha beta gamma"] * 3])
def test_documents_that_are_all_alike_encode_the_same_in_every_way(
    forward_of: Forward, documents: list[str]
) -> None:
    # the shared direction is all there is: what remains is nothing, and not rounding made long
    forward = forward_of(*documents)
    for seed in range(10):
        encoder = SifEncoder.fit(random_vectors(forward, seed), 1e-3, forward)
        rows_ND = encoder.encode_forward(forward)
        np.testing.assert_allclose(encoder.encode_documents(documents), rows_ND, atol=1e-3)


@pytest.mark.parametrize("texts", [["", "unheard words", "?!"], []])
def test_texts_without_known_words_are_zeros(forward_of: Forward, texts: list[str]) -> None:
    encoder = SifEncoder.fit(hand_made(), 0.5, forward_of(*DOCUMENTS))
    assert encoder.encode_queries(texts).tolist() == [[0, 0, 0]] * len(texts)
    assert encoder.encode_documents(texts).dtype == np.float32


@pytest.mark.parametrize("documents", [[], [""], ["nothing known", ""]])
def test_a_collection_without_known_words_has_no_direction(
    forward_of: Forward, documents: list[str]
) -> None:
    forward = forward_of(*documents)
    encoder = SifEncoder.fit(hand_made(), 0.5, forward)
    assert encoder.direction_D.tolist() == [0, 0, 0]
    assert encoder.encode_forward(forward).tolist() == [[0, 0, 0]] * len(documents)


def test_words_of_names_the_trained_word_of_each_surface_form(forward_of: Forward) -> None:
    forward = forward_of("green unknown unknown", "red")
    encoder = SifEncoder.fit(hand_made(), 0.5, forward)
    found = dict(zip(forward.vocabulary.surfaces, encoder.words_of(forward).tolist(), strict=True))
    assert found == {"unknown": -1, "green": 2, "red": 0}


def test_a_saved_encoder_loads_to_the_last_bit(forward_of: Forward, tmp_path: Path) -> None:
    forward = forward_of("naïve straße", "東京 naïve words", "other words")
    encoder = SifEncoder.fit(random_vectors(forward), 0.01, forward)
    encoder.save(tmp_path / "new" / "encoder")
    loaded = SifEncoder.load(tmp_path / "new" / "encoder")
    assert loaded.word_vectors.words == encoder.word_vectors.words
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.sif == encoder.sif
    texts = ["naïve 東 words", "other", ""]
    for name, ours in (
        ("vectors", lambda e: e.word_vectors.vectors_VD),
        ("counts", lambda e: e.word_vectors.counts_V),
        ("direction", lambda e: e.direction_D),
        ("queries", lambda e: e.encode_queries(texts)),
        ("documents", lambda e: e.encode_forward(forward)),
    ):
        assert ours(loaded).tobytes() == ours(encoder).tobytes(), name


def test_the_fingerprint_is_the_same_for_the_same_encoder_only(forward_of: Forward) -> None:
    forward, words = forward_of(*DOCUMENTS), hand_made()
    nudged_VD = words.vectors_VD.copy()
    nudged_VD[0, 0] = np.nextafter(np.float32(1), np.float32(2))
    variants = {
        "the encoder": SifEncoder.fit(words, 0.5, forward),
        "one weight": SifEncoder.fit(
            dataclasses.replace(words, vectors_VD=nudged_VD), 0.5, forward
        ),
        "a count": SifEncoder.fit(
            dataclasses.replace(words, counts_V=np.array([3, 2, 1])), 0.5, forward
        ),
        "a word": SifEncoder.fit(
            dataclasses.replace(words, words=("red", "blue", "grey")), 0.5, forward
        ),
        "sif": SifEncoder.fit(words, 0.25, forward),
        "the documents": SifEncoder.fit(words, 0.5, forward_of("red", "blue")),
    }
    fingerprints = {name: encoder.fingerprint for name, encoder in variants.items()}
    assert len(set(fingerprints.values())) == len(fingerprints), fingerprints
    assert (
        SifEncoder.fit(hand_made(), 0.5, forward_of(*DOCUMENTS)).fingerprint
        == (fingerprints["the encoder"])
    )


@pytest.mark.parametrize("name", [TENSORS, WORDS, SUMMARY])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_damaged_encoder_does_not_load(
    forward_of: Forward, tmp_path: Path, name: str, damage: str
) -> None:
    SifEncoder.fit(hand_made(), 0.5, forward_of(*DOCUMENTS)).save(tmp_path / "encoder")
    path = tmp_path / "encoder" / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(DamagedVersion, match="encoder"):
        SifEncoder.load(tmp_path / "encoder")
