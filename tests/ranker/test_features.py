"""Features against a slow plain implementation, and against arithmetic by hand.

Shapes: K candidates, F features, R reference documents, D dimensions.
"""

import math
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from rankwell.data.analysis import words
from rankwell.ranker.declared import DECLARED, MATCH, QUERY, SCORES
from rankwell.ranker.features import FEATURES, FEATURES_FINGERPRINT, FeatureExtractor, Scored
from rankwell.ranker.terms import resolve

NUM_DOCS, NUM_REFERENCE = 24, 15
BASE = [feature.name for feature in (*SCORES, *MATCH)]
COMMON = ["wing", "wings", "lift", "drag", "flow", "flows", "the", "of"]
RARE = ["gust", "slab", "heat", "cone", "tail", "nose"]


class Slow:
    """One query over a few documents, every feature in plain Python."""

    def __init__(self, query, documents, vectors, word_vectors, scored, analyzer):
        self.documents = [(words(title), words(text)) for title, text in documents]
        vocabulary = sorted({w for pair in self.documents for part in pair for w in part})
        asked = analyzer.query(query)
        known = dict(zip(vocabulary, analyzer.terms(vocabulary), strict=True))
        self.term = lambda word: known[word]
        self.sequence = [asked.terms[i] for i in asked.sequence]
        self.counts = Counter(self.sequence)
        self.forms = dict(zip(asked.terms, asked.forms, strict=True))
        self.vectors = vectors.astype(float)
        self.unit = {w: np.array(v) / np.linalg.norm(v) for w, v in word_vectors.items()}
        self.scored = scored
        self.fields = [
            [[t for w in part if (t := self.term(w))] for part in pair] for pair in self.documents
        ]
        flat = [title + text for title, text in self.fields]
        self.cf = Counter(t for d in flat for t in d)
        self.df = Counter(t for d in flat for t in set(d))
        self.averages = [sum(len(f[i]) for f in self.fields) / NUM_DOCS for i in (0, 1)]
        self.reference = range(NUM_REFERENCE)

    def idf(self, term):
        return math.log(1 + (NUM_DOCS - self.df[term] + 0.5) / (self.df[term] + 0.5))

    def similarity(self, word, term):
        if self.term(word) == term:
            return 1.0
        pair = self.unit.get(word), self.unit.get(self.forms[term])
        if pair[0] is None or pair[1] is None:
            return 0.0
        step = np.abs(pair[0]).max() / 127  # a document's word is in bytes
        return (
            math.floor(min(max(np.rint(pair[0] / step) * step @ pair[1], 0), 1) * 255 + 0.5) / 255
        )

    def matches(self, k):
        """Returns (place, term) of every match, the text 20 places behind the title."""
        title, text = self.documents[k]
        places = [*range(len(title)), *(len(title) + 20 + i for i in range(len(text)))]
        return [
            (place, self.term(word))
            for place, word in zip(places, title + text, strict=True)
            if self.term(word) in self.counts
        ]

    def proximity(self, k, share):
        """Returns the sum of w x / (x + .2), x the weight of neighbouring matches by distance."""
        closeness = Counter()
        for (one, a), (other, b) in pairwise(self.matches(k)):
            if a != b:
                closeness[a] += share[b] / (other - one) ** 2
                closeness[b] += share[a] / (other - one) ** 2
        return sum(share[t] * x / (x + 0.2) for t, x in closeness.items())

    def passage(self, k, share):
        found = self.matches(k)
        return max(
            (
                sum(share[t] for t in {t for p, t in found if start <= p < start + 24})
                for start, _ in found
            ),
            default=0,
        )

    def near(self, k, sharpness):
        reference = self.vectors[list(self.reference)]
        weights = np.exp(sharpness * (self.vectors[k] @ reference.T - 1))
        fused = self.scored.fused_K[list(self.reference)].astype(float)
        return weights @ (fused - fused.mean()) / weights.sum()

    def cover(self, k):
        found, wanted = self.matches(k), {t for _, t in self.matches(k)}
        if not wanted:
            return 0.0
        return math.log(
            min(
                found[j][0] - found[i][0] + 1
                for i in range(len(found))
                for j in range(i, len(found))
                if {t for _, t in found[i : j + 1]} == wanted
            )
            / len(wanted)
        )

    def base(self, k):
        """Returns the features that need no other candidate."""
        title, text = self.fields[k]
        length = len(title) + len(text)
        idf = {t: self.idf(t) for t in self.counts}
        weights = {t: c * idf[t] for t, c in self.counts.items()}
        share = {t: w / sum(weights.values()) for t, w in weights.items()}
        centre, mean = self.vectors[:5].sum(0), self.vectors[:NUM_REFERENCE].sum(0)
        hit = {t for t in share if t in title + text}
        found = self.matches(k)
        num_tokens = sum(self.cf.values())
        relative = length / sum(self.averages)
        of_average = [
            len(f) / average for f, average in zip((title, text), self.averages, strict=True)
        ]
        in_all = {t: (title + text).count(t) for t in share}
        counted = {t: c / sum(self.counts.values()) for t, c in self.counts.items()}
        background = {t: (self.cf[t] + 0.5) / (num_tokens + 1) for t in share}
        weighted = {
            t: 2 * title.count(t) / (0.5 + 0.5 * of_average[0])
            + text.count(t) / (0.25 + 0.75 * of_average[1])
            for t in share
        }
        values = {
            "lexical": self.scored.lexical_K[k],
            "dense": self.scored.dense_K[k],
            "fused": self.scored.fused_K[k],
            "dense_feedback": self.vectors[k] @ centre / np.linalg.norm(centre),
            "near_sharp": self.near(k, 16),
            "near_flat": self.near(k, 4),
            "centrality": self.vectors[k] @ mean / np.linalg.norm(mean),
            "bm25_title": sum(
                w * title.count(t) / (title.count(t) + 0.9 * (0.6 + 0.4 * of_average[0]))
                for t, w in share.items()
            ),
            "bm25_flat": sum(w * in_all[t] / (in_all[t] + 1.2) for t, w in share.items()),
            "bm25_long": sum(
                w * in_all[t] / (in_all[t] + 2 * (0.25 + 0.75 * relative)) for t, w in share.items()
            ),
            "bm25f": sum(w * weighted[t] / (weighted[t] + 1.2) for t, w in share.items()),
            "dph": sum(
                c
                * (1 - part) ** 2
                / (tf + 1)
                * (
                    tf * math.log2(tf / relative * NUM_DOCS / (background[t] * num_tokens))
                    + 0.5 * math.log2(2 * math.pi * tf * (1 - part))
                )
                for t, c in counted.items()
                if (tf := in_all[t])
                for part in [min(tf / length, 1 - 1e-6)]
            ),
            "lm_dirichlet": sum(
                c * math.log((in_all[t] / background[t] + 1000) / (length + 1000))
                for t, c in counted.items()
            ),
            "lm_mixture": sum(
                c * math.log1p(in_all[t] / max(length, 1) / background[t])
                for t, c in counted.items()
            ),
            "coverage_title": sum(w for t, w in share.items() if t in title),
            "coverage": sum(share[t] for t in hit),
            "proximity": self.proximity(k, share),
            "passage": self.passage(k, share),
            "shortest_cover": self.cover(k),
            "first_place": math.log1p(found[0][0] if found else length + 20),
            "density": len(found) / max(length, 1),
        }
        title_words, text_words = self.documents[k]
        similar = {
            t: [s if (s := self.similarity(w, t)) > 25 / 255 else 0 for w in title_words]
            + [s if (s := self.similarity(w, t)) > 25 / 255 else 0 for w in text_words]
            for t in share
        }
        for centre in (0.7, 0.5):
            values[f"kernel_{centre:g}"] = sum(
                w
                * math.log(
                    0.01 + sum(math.exp(-((s - centre) ** 2) / 0.02) for s in similar[t] if s)
                )
                for t, w in share.items()
            )
        num_words = max(len(title_words) + len(text_words), 1)
        values["mean_similarity"] = sum(w * sum(similar[t]) for t, w in share.items()) / num_words
        values["best_similarity"] = sum(w * max(similar[t], default=0) for t, w in share.items())
        values["best_similarity_title"] = sum(
            w * max(similar[t][: len(title_words)], default=0) for t, w in share.items()
        )
        return values

    def all(self):
        """Returns every feature of every document by name; None where rounding decides."""
        base = [self.base(k) for k in range(NUM_DOCS)]
        table = {name: [row[name] for row in base] for name in base[0]}
        for name, values in table.items():
            given = [values[k] for k in self.reference]
            mean, deviation = np.mean(given), np.std(given)
            table[name] = [
                min(max((v - mean) / deviation, -8), 8) if deviation > 0.01 else None
                for v in values
            ]
        idf = [self.idf(t) for t in self.counts]
        best = [
            set(sorted(self.reference, key=lambda k: -scores[k])[:10])
            for scores in (self.scored.lexical_K.tolist(), self.scored.dense_K.tolist())
        ]
        fused = self.scored.fused_K[:NUM_REFERENCE]
        for name, value in {
            "num_terms": len(idf),
            "sum_idf": sum(idf),
            "mean_idf": sum(idf) / len(idf),
            "max_idf": max(idf),
            "unknown_share": sum(not self.df[t] for t in self.counts) / len(idf),
            "best_lexical": max(self.scored.lexical_K[:NUM_REFERENCE]),
            "best_dense": max(self.scored.dense_K[:NUM_REFERENCE]),
            "agreement": len(best[0] & best[1]) / len(best[0] | best[1]),
            "deviation": np.std(fused),
            "spread": np.std(fused) / np.mean(fused),
            "gap": (fused[0] - fused[9]) / fused[0],
        }.items():
            table[f"query_{name}"] = [value] * NUM_DOCS
        return table


def made_up(num, seed):
    """Returns scores of rows in order, as random as their fused order allows."""
    rng = np.random.default_rng(seed)
    lexical, dense = rng.random((2, num)).astype(np.float32)
    fused = np.sort(rng.random(num).astype(np.float32))[::-1].copy()
    return Scored(np.arange(num), lexical, dense, fused)


QUERIES = [
    "wing",
    "lift of a wing",
    "wing lift wing drag",
    "the flows gust zeppelin",
    "heat slab heat cone flow",
    "zeppelin airship",
    "wings wing lift",
    "nose tail nose the drag lift gust",
]


@pytest.fixture(scope="module")
def compared(pool_of, analyzer):
    """The features [K, F] of each query's documents, fast and slow."""
    found = []
    for seed, query in enumerate(QUERIES):
        rng = random.Random(seed)
        # each rare word is in two documents at most, so feedback has few words to choose from
        documents = [
            tuple(" ".join(rng.choices(COMMON, k=rng.randint(0, most))) for most in (4, 25))
            for _ in range(NUM_DOCS)
        ]
        for word in RARE:
            for k in rng.sample(range(NUM_DOCS), 2):
                title, text = documents[k]
                documents[k] = (title, f"{text} {word} {rng.choice(COMMON)} {word}")
        numbers = np.random.default_rng(seed)
        trained = [w for w in [*COMMON, *RARE, "airship"] if w != "drag"]
        word_vectors = {w: numbers.normal(size=4).astype("f4") for w in trained}
        vectors = numbers.normal(size=(NUM_DOCS, 6)).astype(np.float16)
        pool = pool_of(documents, vectors, word_vectors)
        analysed = analyzer.query(query)
        terms, scored = resolve(analysed, pool.forward), made_up(NUM_DOCS, seed)
        reference = scored.take(slice(0, NUM_REFERENCE))
        extractor = FeatureExtractor(analysed, terms, reference, pool)
        fast = extractor.features(scored, pool, terms)
        slow = Slow(query, documents, vectors, word_vectors, scored, analyzer).all()
        found.append((fast, slow))
    return found


@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_is_what_the_slow_implementation_computes(feature, compared):
    checked = 0
    for fast, slow in compared:
        pairs = zip(fast[:, FEATURES.index(feature)], slow[feature], strict=True)
        kept = [(float(a), float(b)) for a, b in pairs if b is not None]
        checked += len(kept)
        assert [a for a, _ in kept] == pytest.approx([b for _, b in kept], rel=1e-3, abs=1e-3)
    assert checked >= NUM_DOCS


def test_no_feature_is_the_same_for_all(compared):
    values = np.concatenate([fast for fast, _ in compared])
    assert [n for n, spread in zip(FEATURES, np.ptp(values, 0), strict=True) if not spread] == []


@pytest.fixture
def features_of(pool_of, analyzer):
    """Returns a function: query, documents, scores -> features by name, and values before them."""

    def compute(query, documents, scored=None, num_reference=None, words=None):
        pool = pool_of(documents, np.ones((len(documents), 2)), words)
        analysed = analyzer.query(query)
        terms = resolve(analysed, pool.forward)
        scored = scored or made_up(len(documents), 0)
        reference = scored.take(slice(0, num_reference))
        extractor = FeatureExtractor(analysed, terms, reference, pool)
        found, values = (of(scored, pool, terms) for of in (extractor.features, extractor.values))
        assert np.isfinite(found).all()
        names = dict(zip(FEATURES, found.T.tolist(), strict=True))
        return names, dict(zip(BASE, values.T.tolist(), strict=True))

    return compute


def test_features_are_in_deviations_from_the_references_mean_and_clipped(features_of):
    dense = np.array([0.2, 0.6, 0.2, 0.6, 0.5, -7.0], np.float32)
    scored = Scored(np.arange(6), dense, dense, dense)
    found, _ = features_of("wing", [("", "wing")] * 6, scored, num_reference=4)
    # mean .4, deviation .2
    assert found["dense"] == pytest.approx([-1, 1, -1, 1, 0.5, -8], abs=1e-3)
    assert found["query_deviation"] == pytest.approx([0.2] * 6)


def test_covers_and_passages_are_those_counted_by_hand(features_of):
    documents = [
        ("", "wing lift"),
        ("", "lift wing"),
        ("", "wing x x x x x x lift"),
        ("", "wing " + "x " * 23 + "lift"),
        ("wing", "lift"),
        ("", "x"),
    ]
    _, found = features_of("wing lift", documents)
    # the words of the window over two terms; a field starts 20 places on
    windows = [2, 2, 8, 25, 22]
    assert found["shortest_cover"] == pytest.approx([*(math.log(n / 2) for n in windows), 0])
    # no match: the length and 20
    places = [20, 20, 20, 20, 0, 21]
    assert found["first_place"] == pytest.approx([math.log1p(p) for p in places])
    # both weigh the same; the fourth is a word longer than a passage
    assert found["passage"] == pytest.approx([1, 1, 1, 0.5, 1, 0])


def test_a_similar_word_counts_by_its_cosine(features_of):
    words = {"wing": [1, 0], "foil": [0.8, 0.6], "cheese": [-1, 0], "near": [0.05, 1]}
    _, found = features_of(
        "wing", [("foil", ""), ("", "cheese near"), ("", "wing"), ("", "foil")], words=words
    )
    assert found["best_similarity"] == pytest.approx([0.8, 0, 1, 0.8])
    assert found["best_similarity_title"] == pytest.approx([0.8, 0, 0, 0])
    assert found["mean_similarity"] == pytest.approx([0.8, 0, 1, 0.8])
    # .8 is one width from the centre, and three from the other
    assert found["kernel_0.7"][0] == pytest.approx(math.log(0.01 + math.exp(-0.5)))
    assert found["kernel_0.5"][0] == pytest.approx(math.log(0.01 + math.exp(-4.5)))


def test_of_a_long_query_the_rarest_48_terms_are_looked_at(features_of):
    rare, common = [f"r{i}" for i in range(48)], [f"c{i}" for i in range(12)]
    documents = [("", " ".join(common)), ("", " ".join(common + rare)), ("", " ".join(rare[12:]))]
    found, values = features_of(" ".join(common + rare), documents)
    # c0..c11 are in 2 of 3 documents, as are r12..r47, and r0..r11 in one: log(1 + 2.5 / 1.5)
    # ties go by the query's order: the commons come first, so the last 12 rares fall out
    assert found["query_num_terms"] == [60] * 3
    one, two = math.log(1 + 2.5 / 1.5), math.log(1 + 1.5 / 2.5)
    total = 12 * one + 36 * two
    assert values["coverage"] == pytest.approx([12 * two / total, 1, 24 * two / total])


@pytest.mark.parametrize("query", ["", "of the", "zeppelin airship"])
def test_queries_without_known_terms_have_finite_features(query, features_of):
    found, values = features_of(query, [("", "wing"), ("", ""), ("drag", "the")])
    assert values["coverage"] == [0, 0, 0]
    assert found["query_unknown_share"] == [1, 1, 1]


def test_a_document_of_a_million_words_has_features(features_of):
    found, values = features_of("wing lift", [("", "wing drag " * 500_000), ("", "lift")])
    assert values["coverage"] == pytest.approx([0.5, 0.5])
    assert found["fused"][0] != found["fused"][1]


def test_an_empty_reference_list_gives_neutral_features(features_of):
    found, _ = features_of("wing", [("", "wing"), ("", "drag")], num_reference=0)
    assert found["lexical"] == found["coverage"] == [0, 0]
    assert found["query_best_lexical"] == [0, 0]


def test_features_do_not_depend_on_the_other_candidates(pool_of, analyzer):
    documents = [("", "wing lift"), ("drag", "wing"), ("", "lift lift drag"), ("", "flow")]
    pool, analysed, scored = (
        pool_of(documents, np.eye(4)),
        analyzer.query("wing lift drag"),
        made_up(4, 1),
    )
    terms = resolve(analysed, pool.forward)
    extractor = FeatureExtractor(analysed, terms, scored.take(slice(0, 3)), pool)
    whole = extractor.features(scored, pool, terms)
    for places in ([3], [2, 0], [3, 1, 0, 2, 2]):
        some = extractor.features(scored.take(np.array(places)), pool, terms)
        assert some == pytest.approx(whole[places], abs=1e-6)
    assert extractor.features(scored.take(slice(0, 0)), pool, terms).shape == (0, len(FEATURES))


def test_names_are_distinct_and_have_a_fingerprint():
    assert len(set(FEATURES)) == len(FEATURES) == len(DECLARED)
    assert all(feature.name.startswith("query_") for feature in QUERY)
    assert len(FEATURES_FINGERPRINT) == 16
