"""Word vectors do what gensim's do."""

from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors, Phrases, Word2Vec

from rankwell.embeddings.kernel import Sampling, Tables, train_span
from rankwell.embeddings.phrases import find_phrases
from rankwell.embeddings.vector_files import read_start, write_binary, write_text
from rankwell.embeddings.word_accuracy import (
    Analogies,
    analogy_accuracy,
    read_measure,
    similarity_correlation,
)
from rankwell.embeddings.word_vectors import WordVectors

DIMENSIONS = 24
LETTERS = "abcdefghijklmnopqrstuvwxyz"
DRAWS = np.random.default_rng(0)
VECTORS = WordVectors(
    tuple(LETTERS),
    np.arange(26, 0, -1),
    DRAWS.normal(size=(26, DIMENSIONS)).astype(np.float32),
)


@pytest.fixture(scope="module")
def keyed() -> KeyedVectors:
    found = KeyedVectors(DIMENSIONS)
    found.add_vectors(list(VECTORS.words), VECTORS.vectors_VD)
    return found


@pytest.mark.parametrize("binary", [True, False])
def test_gensim_reads_what_is_exported(tmp_path: Path, binary: bool) -> None:
    (write_binary if binary else write_text)(VECTORS, tmp_path / "v")
    read = KeyedVectors.load_word2vec_format(str(tmp_path / "v"), binary=binary)
    assert tuple(read.index_to_key) == VECTORS.words
    assert read.vectors.tobytes() == VECTORS.vectors_VD.tobytes()


def test_what_gensim_writes_is_read_as_a_start(keyed: KeyedVectors, tmp_path: Path) -> None:
    keyed.save_word2vec_format(str(tmp_path / "v.txt"))
    places, vectors = read_start(tmp_path / "v.txt", VECTORS.words, DIMENSIONS)
    np.testing.assert_allclose(vectors, VECTORS.vectors_VD[places], rtol=1e-6)
    assert len(places) == 26


@pytest.mark.parametrize("word", ["a", "m", "z"])
def test_neighbours_are_gensims(keyed: KeyedVectors, word: str) -> None:
    expected = keyed.most_similar(word, topn=10)
    found = VECTORS.neighbours(word, 10)
    assert [n.word for n in found] == [name for name, _ in expected]
    assert [n.similarity for n in found] == pytest.approx([s for _, s in expected], abs=1e-6)


@pytest.mark.filterwarnings("ignore:Call to deprecated `init_sims`")  # gensim's own, of itself
@pytest.mark.parametrize("multiply", [False, True])
@pytest.mark.parametrize("words", [("a", "b", "c"), ("q", "r", "s"), ("x", "y", "z")])
def test_analogies_are_gensims(
    keyed: KeyedVectors, words: tuple[str, str, str], multiply: bool
) -> None:
    a, b, c = words
    ask = keyed.most_similar_cosmul if multiply else keyed.most_similar
    expected = ask(positive=[b, c], negative=[a], topn=10)
    found = VECTORS.analogy(a, b, c, 10, multiply=multiply)
    assert [n.word for n in found] == [name for name, _ in expected]
    assert [n.similarity for n in found] == pytest.approx([s for _, s in expected], rel=1e-5)


@pytest.mark.parametrize("most_frequent", [26, 15])
def test_accuracy_by_section_is_gensims(
    keyed: KeyedVectors, tmp_path: Path, most_frequent: int
) -> None:
    lines = []
    for section in ("letters", "more letters"):
        lines.append(f": {section}")
        for _ in range(200):
            a, b, c, d = DRAWS.choice(list(LETTERS), 4, replace=False)
            best = VECTORS.analogy(a, b, c, 1)[0].word
            lines.append(" ".join((a, b, c, best if DRAWS.random() < 0.5 else d)))
        lines.append("a b c unknown")
    (tmp_path / "q.txt").write_text("\n".join(lines) + "\n")
    _, sections = keyed.evaluate_word_analogies(
        str(tmp_path / "q.txt"), restrict_vocab=most_frequent
    )
    expected = {
        s["section"]: (len(s["correct"]), len(s["correct"]) + len(s["incorrect"]))
        for s in sections[:-1]
    }
    measure = read_measure(tmp_path / "q.txt")
    assert isinstance(measure, Analogies)
    found = analogy_accuracy(VECTORS, measure, most_frequent=most_frequent)
    assert {s.name: (s.correct, s.asked) for s in found} == expected
    assert all(0 < s.correct < s.asked for s in found)
    assert all(s.asked + s.unknown == 201 for s in found)


def test_correlation_is_gensims(keyed: KeyedVectors, tmp_path: Path) -> None:
    pairs = [DRAWS.choice(list(LETTERS), 2, replace=False) for _ in range(60)]
    text = "".join(f"{a}\t{b}\t{DRAWS.random() * 10:.2f}\n" for a, b in pairs)
    (tmp_path / "pairs.tsv").write_text("# word 1, word 2, said\n" + text + "a\tunknown\t3\n")
    _, expected, share_unknown = keyed.evaluate_word_pairs(str(tmp_path / "pairs.tsv"))
    measure = read_measure(tmp_path / "pairs.tsv")
    assert not isinstance(measure, Analogies)
    found = similarity_correlation(VECTORS, measure)
    assert found.spearman == pytest.approx(expected[0], abs=1e-9)
    assert found.p_value == pytest.approx(expected[1])
    assert found.unknown / (found.unknown + found.pairs) * 100 == pytest.approx(share_unknown)


def test_phrases_are_those_of_gensims_npmi() -> None:
    # runs of letters, each often followed by the next one of the alphabet
    sentences = []
    for _ in range(300):
        numbers = [int(DRAWS.integers(26))]
        while len(numbers) < 12:
            near = DRAWS.random() < 0.4
            numbers.append((numbers[-1] + 1) % 26 if near else int(DRAWS.zipf(1.3)) % 26)
        sentences.append(numbers)
    tokens_T = np.array(sentences, np.int32).ravel()
    bounds = np.arange(0, len(tokens_T) + 1, 12)
    counts_V = np.bincount(tokens_T, minlength=26)
    found = find_phrases(tokens_T, bounds, counts_V, 5, 0.3)
    model = Phrases(
        [[LETTERS[n] for n in sentence] for sentence in sentences],
        min_count=5,
        threshold=0.3,
        scoring="npmi",
    )
    expected = set(model.export_phrases())
    assert {f"{LETTERS[a]}_{LETTERS[b]}" for a, b in found.pairs} == expected
    assert 3 < len(expected) < 100


def test_frequent_words_are_thinned_out_as_gensim_does() -> None:
    sentences = [[LETTERS[n] for n in DRAWS.zipf(1.2, 30) % 26] for _ in range(100)]
    model = Word2Vec(sentences, min_count=1, sample=1e-2, vector_size=2, epochs=1, workers=1)
    kept = [model.wv.get_vecattr(word, "sample_int") for word in model.wv.index_to_key]
    counts_V = np.array([model.wv.get_vecattr(w, "count") for w in model.wv.index_to_key])
    ours = Sampling.of(counts_V, 1e-2, 0).keep_V / 2**32
    assert ours == pytest.approx(np.array(kept) / (2**32 - 1), rel=1e-6)
    assert min(ours) < 0.5 < max(ours)


@pytest.mark.parametrize("cbow", [False, True])
def test_an_update_is_gensims(cbow: bool) -> None:
    # Sentences of two words leave gensim no choice: each window is one pair. Noise that is always
    # the most frequent word (an infinite exponent of its distribution) leaves none either.
    pairs = [("a", "b"), ("c", "a"), ("b", "c"), ("a", "d"), ("d", "a")] * 20
    model = Word2Vec(
        vector_size=DIMENSIONS,
        window=1,
        min_count=1,
        sg=0 if cbow else 1,
        negative=1,
        ns_exponent=60,
        sample=0,
        alpha=0.05,
        min_alpha=0.05,
        workers=1,
        epochs=1,
        seed=3,
    )
    model.build_vocab([list(pair) for pair in pairs])
    names = model.wv.index_to_key
    counts_V = np.array([model.wv.get_vecattr(name, "count") for name in names])
    assert counts_V[0] > counts_V[1]
    tables = Tables.start(len(names), DIMENSIONS, 0)
    tables.words_VP[:, :DIMENSIONS] = model.wv.vectors
    before = model.wv.vectors.copy()
    model.train([list(pair) for pair in pairs], total_examples=len(pairs), epochs=1)
    number = model.wv.key_to_index
    train_span(
        tables,
        np.array([number[word] for pair in pairs for word in pair], np.int32),
        np.arange(0, 2 * len(pairs) + 1, 2),
        Sampling(np.full(len(names), 2**32 - 1, np.uint32), np.zeros(100, np.int32)),
        window=1,
        negatives=1,
        rates=(0.05, 0.05),
        seed=0,
        cbow=cbow,
    )
    moved = np.abs(model.wv.vectors - before).max()
    assert moved > 0.01
    # gensim reads the sigmoid from a table of a thousand steps, rounded down
    np.testing.assert_allclose(tables.vectors_VD, model.wv.vectors, atol=0.03 * moved)
    np.testing.assert_allclose(
        tables.contexts_VP[:, :DIMENSIONS], model.syn1neg, atol=0.03 * np.abs(model.syn1neg).max()
    )
