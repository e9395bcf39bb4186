"""The features, declared: what each is, where it comes from, and in which order they stand.

Every feature of a candidate is given relative to the query's reference list, as (value - mean) /
standard deviation of the list, so that it means the same in every collection; the features of the
query stand behind them as they are, and behind those the document priors that a user names
(`priors.py`). docs/results.md shows what each group is worth, and what was tried and left out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature.

    Attributes:
        name: as files and explanations show it.
        field: what it is computed from: title, text, both, vector, words (their vectors), list (the
            reference list) or query.
        formula: in words or symbols. tf, df, idf and lengths are of terms; w is a term's share of
            the query's count times idf; c its share of the query's terms.
        source: where it comes from.
    """

    name: str
    field: str
    formula: str
    source: str


_ROBERTSON = "Robertson and Zaragoza, 2009"
_ZHAI = "Zhai and Lafferty, 2004"

SCORES = (
    Feature("lexical", "both", "BM25 with the fitted k1 and b, over its bound", _ROBERTSON),
    Feature("dense", "vector", "inner product of the query's and the document's vector", "encoder"),
    Feature("fused", "both", "weight lexical + (1 - weight) dense", "Bruch et al., 2023"),
    Feature("dense_feedback", "vector", "inner product with the list's best 5", "Rocchio, 1971"),
    Feature(
        "near_sharp",
        "list",
        "mean fused score of the list, each document by the softmax of 16 x nearness",
        "attention to the list; Diaz, 2005",
    ),
    Feature("near_flat", "list", "the same by the softmax of 4 x nearness", "Diaz, 2005"),
    Feature("centrality", "vector", "inner product with the mean of the list", "Kurland, 2005"),
)
MATCH = (
    Feature("bm25_title", "title", "sum w tf / (tf + .9 (.6 + .4 length / average))", _ROBERTSON),
    Feature("bm25_flat", "both", "sum w tf / (tf + 1.2)", _ROBERTSON),
    Feature("bm25_long", "both", "sum w tf / (tf + 2 (.25 + .75 length / average))", _ROBERTSON),
    Feature(
        "bm25f",
        "both",
        "sum w x / (x + 1.2), x = 2 title tf / (.5 + .5 length / average) + text tf / (.25 + ...)",
        "Zaragoza et al., 2004",
    ),
    Feature(
        "dph", "both", "sum c (1 - tf / length)^2 / (tf + 1) (information of tf)", "Amati, 2006"
    ),
    Feature("lm_dirichlet", "both", "sum c log((tf / p + 1000) / (length + 1000))", _ZHAI),
    Feature("lm_mixture", "both", "sum c log(1 + tf / length / p)", "Jelinek-Mercer; " + _ZHAI),
    Feature("coverage_title", "title", "sum w of the terms that occur", ""),
    Feature("coverage", "both", "sum w of the terms that occur", ""),
    Feature(
        "proximity",
        "both",
        "sum w x / (x + .2), x = sum w of the neighbouring match / distance^2",
        "Buettcher, Clarke and Lushman, 2006",
    ),
    Feature("passage", "both", "the largest sum w within 24 words", "Callan, 1994"),
    Feature(
        "shortest_cover",
        "both",
        "log(words of the shortest window with all matched terms / their number)",
        "Tao and Zhai, 2007",
    ),
    Feature("first_place", "both", "log(1 + place of the first match)", ""),
    Feature("density", "both", "matches / length", ""),
    Feature("best_similarity", "words", "sum w max cosine to a word", "word vectors"),
    Feature("best_similarity_title", "words", "the same in the title", "word vectors"),
    Feature("mean_similarity", "words", "sum w mean cosine to the words", "word vectors"),
    Feature("kernel_0.7", "words", "sum w log(.01 + sum exp(-(cosine - .7)^2 / .02))", "K-NRM"),
    Feature("kernel_0.5", "words", "sum w log(.01 + sum exp(-(cosine - .5)^2 / .02))", "K-NRM"),
)
QUERY = (
    Feature("query_num_terms", "query", "number of terms", ""),
    Feature("query_sum_idf", "query", "sum of idf", "Hauff, 2010"),
    Feature("query_mean_idf", "query", "mean of idf", "Hauff, 2010"),
    Feature("query_max_idf", "query", "largest idf", "Hauff, 2010"),
    Feature("query_unknown_share", "query", "share of terms that the collection lacks", ""),
    Feature("query_best_lexical", "query", "largest lexical score of the list", ""),
    Feature("query_best_dense", "query", "largest dense score of the list", ""),
    Feature("query_agreement", "query", "common share of both scores' best 10", ""),
    Feature("query_deviation", "query", "standard deviation of the list's fused scores", ""),
    Feature("query_spread", "query", "deviation / mean of the list's fused scores", "NQC, 2012"),
    Feature("query_gap", "query", "(first - tenth) / first fused score", ""),
)

DECLARED = (*SCORES, *MATCH, *QUERY)
FEATURES: tuple[str, ...] = tuple(feature.name for feature in DECLARED)
_VERSION = 2
FEATURES_FINGERPRINT = hashlib.sha256(f"{_VERSION} {DECLARED}".encode()).hexdigest()[:16]


def feature_names(priors: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the names of all features: the declared ones, and those of document priors.

    Args:
        priors: the fields.
    """
    # a file of features parts names by blanks
    names = ["prior_" + "_".join(field.split()) for field in priors]
    return (*FEATURES, *(of for name in names for of in (name, f"{name}_missing")))
