"""How good word vectors are, by the files that the field measures with.

Analogies (Google's questions-words.txt; Mikolov et al., 2013): lines `: section` and lines of four
words, of which the fourth is asked for. Similarities (WordSim-353, SimLex-999): lines of two words
and what people said, measured by Spearman's rank correlation.

Shapes: V words, N the most frequent of them, Q questions.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from rankwell.data.errors import InputError
from rankwell.embeddings.word_vectors import NEVER_ZERO, WordVectors, unit

MOST_FREQUENT = 30_000  # as word2vec's own tool has it

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Section:
    """The outcome of a section of analogies.

    Attributes:
        name: as the file has it.
        correct: questions answered.
        asked: questions whose four words are known.
        unknown: questions left out.
    """

    name: str
    correct: int
    asked: int
    unknown: int

    @property
    def accuracy(self) -> float:
        """The share of the questions asked that were answered; 0 of none."""
        return self.correct / max(self.asked, 1)


@dataclass(frozen=True, slots=True)
class Correlation:
    """The outcome of a file of similarities.

    Attributes:
        spearman: rank correlation of cosines and what people said.
        p_value: of no correlation.
        pairs: pairs whose two words are known.
        unknown: pairs left out.
    """

    spearman: float
    p_value: float
    pairs: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Analogies:
    """Questions by section: four words each."""

    sections: dict[str, list[list[str]]]


@dataclass(frozen=True, slots=True)
class Similarities:
    """Pairs of words and what people said of them."""

    pairs: list[tuple[str, str, float]]


def read_measure(path: Path) -> Analogies | Similarities:
    """Reads a file of analogies or of similarities.

    Raises:
        InputError: the file cannot be read, or is neither.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    sections: dict[str, list[list[str]]] = {}
    pairs: list[tuple[str, str, float]] = []
    name = "all"
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith(":"):
            name = line[1:].strip()
            continue
        parts = re.split(r"\t|,|;" if re.search(r"[\t,;]", line) else r"\s+", line.strip())
        score = _number(parts[-1])
        if len(parts) == 4 and score is None:
            sections.setdefault(name, []).append(parts)
        elif len(parts) == 3 and score is not None:
            pairs.append((parts[0], parts[1], score))
        elif number > 1 or score is not None:  # the first line may name the columns
            raise InputError(
                f"{path}, line {number}: expected four words (an analogy), or two words and a "
                f"number (a similarity), found '{line}'"
            )
    if bool(sections) == bool(pairs):
        what = "both analogies and similarities" if pairs else "neither analogies nor similarities"
        raise InputError(f"{path} has {what}; give it one kind, a line each")
    return Analogies(sections) if sections else Similarities(pairs)


def analogy_accuracy(
    vectors: WordVectors,
    analogies: Analogies,
    *,
    most_frequent: int = MOST_FREQUENT,
    multiply: bool = False,
) -> list[Section]:
    """Answers analogies from among the most frequent words; see `WordVectors.analogy`.

    Questions with a word that is not among these are left out, as word2vec and gensim do.
    """
    unit_ND = vectors.unit_VD[:most_frequent]
    outcome = []
    for name, questions in analogies.sections.items():
        places = [[vectors.find(word) for word in question] for question in questions]
        known = [p for p in places if all(i is not None and i < len(unit_ND) for i in p)]
        asked_Q4 = np.array(known, np.int64).reshape(-1, 4)
        correct = sum(
            _num_correct(unit_ND, asked_Q4[start : start + _BATCH], multiply)
            for start in range(0, len(asked_Q4), _BATCH)
        )
        outcome.append(Section(name, correct, len(known), len(places) - len(known)))
    return outcome


def similarity_correlation(vectors: WordVectors, similarities: Similarities) -> Correlation:
    """Compares cosines with what people said.

    Raises:
        InputError: fewer than two pairs have words that are known.
    """
    found = [(vectors.find(a), vectors.find(b), said) for a, b, said in similarities.pairs]
    known = [(a, b, said) for a, b, said in found if a is not None and b is not None]
    if len(known) < 2:
        raise InputError(
            f"{len(known)} of the {len(found)} pairs have words with a vector; a correlation needs "
            "two"
        )
    firsts, seconds, said = zip(*known, strict=True)
    cosines: NDArray[np.float32] = np.einsum(
        "pd,pd->p", vectors.unit_VD[list(firsts)], vectors.unit_VD[list(seconds)]
    )
    outcome = spearmanr(cosines, said)
    return Correlation(
        float(outcome.statistic), float(outcome.pvalue), len(known), len(found) - len(known)
    )


def _num_correct(unit_ND: NDArray[np.float32], asked_Q4: NDArray[np.int64], multiply: bool) -> int:
    a_QD, b_QD, c_QD = (unit_ND[asked_Q4[:, i]] for i in range(3))
    if multiply:
        to_a, to_b, to_c = ((1 + part @ unit_ND.T) / 2 for part in (a_QD, b_QD, c_QD))
        score_QN: NDArray[np.floating] = to_b * to_c / (to_a + NEVER_ZERO)
    else:
        score_QN = unit(b_QD - a_QD + c_QD) @ unit_ND.T
    np.put_along_axis(score_QN, asked_Q4[:, :3], -np.inf, axis=1)
    return int((score_QN.argmax(axis=1) == asked_Q4[:, 3]).sum())


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
