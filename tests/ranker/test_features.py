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
from rankwell.data.config import LexicalConfig
from rankwell.ranker.features import FEATURES, FEATURES_FINGERPRINT, FeatureExtractor, Scored
from rankwell.ranker.terms import resolve

CONFIG = LexicalConfig(k1=1.1, b=0.6, title_weight=2.0)
NUM_DOCS, NUM_REFERENCE = 24, 15
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

    def bm25(self, weights, k):
        title, text = self.fields[k]
        weight = CONFIG.title_weight
        average = weight * self.averages[0] + self.averages[1]
        length = weight * len(title) + len(text)
        score = 0.0
        for term, share in weights.items():
            tf = weight * title.count(term) + text.count(term)
            held_back = CONFIG.k1 * (1 - CONFIG.b + CONFIG.b * length / average)
            score += share * self.idf(term) * (CONFIG.k1 + 1) * tf / (tf + held_back)
        return score

    def feedback_weights(self):
        total = sum(self.counts.values())
        weights = Counter({t: 0.5 * c / total for t, c in self.counts.items() if self.df[t]})
        shares = [max(float(self.scored.fused_K[k]), 1e-6) for k in range(10)]
        model = Counter()
        for k, share in enumerate(shares):
            document = self.fields[k][0] + self.fields[k][1]
            for term in document:
                if self.df[term] <= max(2, 0.1 * NUM_DOCS):
                    model[term] += share / sum(shares) / len(document)
        assert len(model) <= 16
        for term, probability in model.items():
            weights[term] += 0.5 * probability / sum(model.values())
        return weights

    def similarity(self, word, term):
        if self.term(word) == term:
            return 1.0
        pair = self.unit.get(word), self.unit.get(self.forms[term])
        if pair[0] is None or pair[1] is None:
            return 0.0
        return math.floor(min(max(pair[0] @ pair[1], 0), 1) * 255 + 0.5) / 255

    def matches(self, k):
        """Returns (place, term) of every match, the text 20 places behind the title."""
        title, text = self.documents[k]
        places = [*range(len(title)), *(len(title) + 20 + i for i in range(len(text)))]
        return [
            (place, self.term(word))
            for place, word in zip(places, title + text, strict=True)
            if self.term(word) in self.counts
        ]

    def pairs(self, k):
        """Returns the shares of ordered and near pairs."""
        asked = list(dict.fromkeys((a, b) for a, b in pairwise(self.sequence) if a != b))
        most = max(map(self.idf, self.counts), default=0)
        ordered_share = near_share = 0.0
        found = self.matches(k)
        for a, b in asked:
            ordered = near = 0
            for i, (place, term) in enumerate(found):
                if term not in (a, b):
                    continue
                other = a if term == b else b
                before = [p for p, t in found[:i] if t == other]
                ordered += bool(before and term == b and place - before[-1] <= 2)
                near += bool(before and place - before[-1] <= 8)
            weight = min(self.idf(a), self.idf(b)) / most / len(asked)
            ordered_share += weight * ordered / (ordered + 1)
            near_share += weight * near / (near + 1)
        return ordered_share, near_share

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
        held_back = [
            CONFIG.k1 * (1 - CONFIG.b + CONFIG.b * len(f) / average)
            for f, average in zip((title, text), self.averages, strict=True)
        ]
        rm3 = self.feedback_weights()
        centre = self.vectors[:5].sum(0)
        hit = {t for t in share if t in title + text}
        found = self.matches(k)
        num_tokens = sum(self.cf.values())
        ordered, near = self.pairs(k)
        values = {
            "lexical": self.scored.lexical_K[k],
            "dense": self.scored.dense_K[k],
            "fused": self.scored.fused_K[k],
            "feedback": self.bm25(rm3, k) / sum(w * self.idf(t) for t, w in rm3.items()),
            "dense_feedback": self.vectors[k] @ centre / np.linalg.norm(centre),
            "bm25_title": sum(
                w * title.count(t) / (title.count(t) + held_back[0]) for t, w in share.items()
            ),
            "bm25_text": sum(
                w * text.count(t) / (text.count(t) + held_back[1]) for t, w in share.items()
            ),
            "bm25_long": sum(
                w * tf / (tf + 2 * (0.25 + 0.75 * length / sum(self.averages)))
                for t, w in share.items()
                for tf in [(title + text).count(t)]
            ),
            "language_model": sum(
                c / sum(self.counts.values()) * math.log((tf / background + 1000) / (length + 1000))
                for t, c in self.counts.items()
                for tf in [(title + text).count(t)]
                for background in [(self.cf[t] + 0.5) / (num_tokens + 1)]
            ),
            "max_idf_hit": max((idf[t] for t in hit), default=0) / max(idf.values()),
            "max_idf_miss": max((idf[t] for t in share if t not in hit), default=0)
            / max(idf.values()),
            "ordered_pairs": ordered,
            "window_pairs": near,
            "shortest_cover": self.cover(k),
            "first_place": math.log1p(found[0][0] if found else length + 20),
            "density": len(found) / max(length, 1),
            "title_words": math.log1p(len(title)),
            "text_words": math.log1p(len(text)),
        }
        for name, part in (("_title", title), ("_text", text), ("", title + text)):
            values[f"coverage{name}"] = sum(t in part for t in share) / len(share)
            values[f"idf_coverage{name}"] = sum(w for t, w in share.items() if t in part)
        title_words, text_words = self.documents[k]
        similar = {
            t: [s if (s := self.similarity(w, t)) > 25 / 255 else 0 for w in title_words]
            + [s if (s := self.similarity(w, t)) > 25 / 255 else 0 for w in text_words]
            for t in share
        }
        for centre, width in ((1, 1e-3), (0.9, 0.1), (0.7, 0.1), (0.5, 0.1), (0.3, 0.1)):
            values[f"kernel_{centre:g}"] = sum(
                w
                * math.log(
                    0.01
                    + sum(math.exp(-((s - centre) ** 2) / (2 * width**2)) for s in similar[t] if s)
                )
                for t, w in share.items()
            )
        values["best_similarity"] = sum(w * max(similar[t], default=0) for t, w in share.items())
        values["best_similarity_title"] = sum(
            w * max(similar[t][: len(title_words)], default=0) for t, w in share.items()
        )
        return values

    def all(self):
        """Returns every feature of every document by name; None where rounding decides."""
        base = [self.base(k) for k in range(NUM_DOCS)]
        table = {name: [row[name] for row in base] for name in base[0]}
        for name in FEATURES:
            source, _, kind = name.rpartition("_")
            if kind == "relative":
                given = [table[source][k] for k in self.reference]
                mean, deviation = np.mean(given), np.std(given)
                table[name] = [
                    min(max((v - mean) / (deviation + 1e-6), -8), 8) if deviation > 0.01 else None
                    for v in table[source]
                ]
            elif kind == "rank":
                given = [table[source][k] for k in self.reference]
                table[name] = [
                    None  # as good as a tie
                    if any(1e-7 < abs(g - v) < 1e-4 for g in given)
                    else math.log1p(sum(g > v + 1e-7 for g in given))
                    for v in table[source]
                ]
        idf = [self.idf(t) for t in self.counts]
        best = [
            set(sorted(self.reference, key=lambda k: -scores[k])[:10])
            for scores in (self.scored.lexical_K.tolist(), self.scored.dense_K.tolist())
        ]
        for name, value in {
            "num_terms": len(idf),
            "sum_idf": sum(idf),
            "mean_idf": sum(idf) / len(idf),
            "max_idf": max(idf),
            "unknown_share": sum(not self.df[t] for t in self.counts) / len(idf),
            "best_lexical": max(self.scored.lexical_K[:NUM_REFERENCE]),
            "agreement": len(best[0] & best[1]) / len(best[0] | best[1]),
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
        extractor = FeatureExtractor(analysed, terms, reference, pool, CONFIG)
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
        assert [a for a, _ in kept] == pytest.approx([b for _, b in kept], rel=1e-4, abs=1e-4)
    assert checked >= NUM_DOCS


def test_no_feature_is_the_same_for_all(compared):
    values = np.concatenate([fast for fast, _ in compared])
    assert [n for n, spread in zip(FEATURES, np.ptp(values, 0), strict=True) if not spread] == []


@pytest.fixture
def features_of(pool_of, analyzer):
    """Returns a function: query, documents, scores -> features by name."""

    def compute(query, documents, scored=None, num_reference=None, config=CONFIG, words=None):
        pool = pool_of(documents, np.ones((len(documents), 2)), words)
        analysed = analyzer.query(query)
        terms = resolve(analysed, pool.forward)
        scored = scored or made_up(len(documents), 0)
        reference = scored.take(slice(0, num_reference))
        found = FeatureExtractor(analysed, terms, reference, pool, config).features(
            scored, pool, terms
        )
        assert np.isfinite(found).all()
        return dict(zip(FEATURES, found.T.tolist(), strict=True))

    return compute


def test_ranks_count_the_reference_documents_with_a_greater_value(features_of):
    lexical = np.array([0.9, 0.5, 0.5, 0.1, 0.7, 0.0], np.float32)
    scored = Scored(np.arange(6), lexical, lexical, lexical)
    found = features_of("wing", [("", "wing")] * 6, scored, num_reference=4)
    # the reference is .9, .5, .5, .1
    expected = [math.log1p(n) for n in (0, 1, 1, 3, 1, 4)]
    assert found["lexical_rank"] == pytest.approx(expected)


def test_relative_values_are_in_deviations_from_the_references_mean_and_clipped(features_of):
    dense = np.array([0.2, 0.6, 0.2, 0.6, 0.5, -7.0], np.float32)
    scored = Scored(np.arange(6), dense, dense, dense)
    found = features_of("wing", [("", "wing")] * 6, scored, num_reference=4)
    # mean .4, deviation .2
    assert found["dense_relative"] == pytest.approx([-1, 1, -1, 1, 0.5, -8], abs=1e-3)


def test_pairs_and_covers_are_those_counted_by_hand(features_of):
    documents = [
        ("", "wing lift"),
        ("", "lift wing"),
        ("", "wing x x x x x x lift"),
        ("", "wing x x x x x x x x lift"),
        ("wing", "lift"),
        ("", "x"),
    ]
    found = features_of("wing lift", documents)
    # idf of both words is the same; n occurrences give n / (n + 1)
    assert found["ordered_pairs"] == pytest.approx([0.5, 0, 0, 0, 0, 0])
    assert found["window_pairs"] == pytest.approx([0.5, 0.5, 0.5, 0, 0, 0])
    # the words of the window over two terms; a field starts 20 places on
    windows = [2, 2, 8, 10, 22]
    assert found["shortest_cover"] == pytest.approx([*(math.log(n / 2) for n in windows), 0])
    # no match: the length and 20
    places = [20, 20, 20, 20, 0, 21]
    assert found["first_place"] == pytest.approx([math.log1p(p) for p in places])


def test_a_similar_word_counts_by_its_cosine(features_of):
    words = {"wing": [1, 0], "foil": [0.8, 0.6], "cheese": [-1, 0], "near": [0.05, 1]}
    found = features_of(
        "wing", [("foil", ""), ("", "cheese near"), ("", "wing"), ("", "foil")], words=words
    )
    assert found["best_similarity"] == pytest.approx([0.8, 0, 1, 0.8])
    assert found["best_similarity_title"] == pytest.approx([0.8, 0, 0, 0])
    # .8 is one width from both centres
    one = math.log(0.01 + math.exp(-0.5))
    assert found["kernel_0.9"][0] == pytest.approx(one)
    assert found["kernel_0.7"][0] == pytest.approx(one)
    assert found["kernel_1"] == pytest.approx(
        [math.log(0.01)] * 2 + [math.log(1.01), math.log(0.01)]
    )


def test_of_a_long_query_the_rarest_48_terms_are_looked_at(features_of):
    rare, common = [f"r{i}" for i in range(48)], [f"c{i}" for i in range(12)]
    documents = [("", " ".join(common)), ("", " ".join(common + rare)), ("", " ".join(rare[:12]))]
    found = features_of(" ".join(common + rare), documents)
    # c0..c11 are in 2 of 3 documents, as are r0..r11; the 36 others in one
    # ties go by the query's order: the commons come first, so 12 rares fall out
    assert found["query_num_terms"] == [60] * 3
    assert found["coverage"] == pytest.approx([12 / 48, 1, 0])


@pytest.mark.parametrize("query", ["", "of the", "zeppelin airship"])
def test_queries_without_known_terms_have_finite_features(query, features_of):
    found = features_of(query, [("", "wing"), ("", ""), ("drag", "the")])
    assert found["coverage"] == [0, 0, 0]
    assert found["query_unknown_share"] == [1, 1, 1]


@pytest.mark.parametrize("config", [LexicalConfig(k1=0.0), LexicalConfig(b=1.0)])
def test_documents_without_a_title_have_features_at_the_ends_of_the_parameters(config, features_of):
    found = features_of("wing", [("", "wing"), ("wing", ""), ("", "")], config=config)
    assert found["bm25_title"][0] == found["bm25_text"][1] == 0
    assert found["bm25_title"][1] > 0


def test_an_empty_reference_list_gives_neutral_relative_values_and_ranks(features_of):
    found = features_of("wing", [("", "wing"), ("", "drag")], num_reference=0)
    assert found["lexical_relative"] == found["lexical_rank"] == [0, 0]
    assert found["query_best_lexical"] == [0, 0]


def test_features_do_not_depend_on_the_other_candidates(pool_of, analyzer):
    documents = [("", "wing lift"), ("drag", "wing"), ("", "lift lift drag"), ("", "flow")]
    pool, analysed, scored = (
        pool_of(documents, np.eye(4)),
        analyzer.query("wing lift drag"),
        made_up(4, 1),
    )
    terms = resolve(analysed, pool.forward)
    extractor = FeatureExtractor(analysed, terms, scored.take(slice(0, 3)), pool, CONFIG)
    whole = extractor.features(scored, pool, terms)
    for places in ([3], [2, 0], [3, 1, 0, 2, 2]):
        some = extractor.features(scored.take(np.array(places)), pool, terms)
        assert some == pytest.approx(whole[places], abs=1e-6)
    assert extractor.features(scored.take(slice(0, 0)), pool, terms).shape == (0, len(FEATURES))


def test_names_are_distinct_and_have_a_fingerprint():
    assert len(set(FEATURES)) == len(FEATURES)
    assert len(FEATURES_FINGERPRINT) == 16
