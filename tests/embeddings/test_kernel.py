"""The kernel computes the gradients of skip-gram and CBOW, on both of its paths."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rankwell.embeddings.kernel import (
    ALIGNMENT,
    Sampling,
    Span,
    Tables,
    empty_table,
    padded,
    train_span,
)

Floats = NDArray[np.float64]
WORDS = 9
MASK = (1 << 64) - 1


class Draws:
    """The kernel's random numbers, from their published definitions."""

    def __init__(self, seed: int) -> None:
        z = (seed + 0x9E3779B97F4A7C15) & MASK  # splitmix64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        self.state = z ^ (z >> 31)

    def draw(self) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & MASK  # MMIX
        return self.state


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def by_definition(
    x: Floats,
    y: Floats,
    tokens: NDArray[np.int32],
    bounds: NDArray[np.int64],
    sampling: Sampling,
    *,
    window: int,
    negatives: int,
    rates: tuple[float, float],
    seed: int,
    cbow: bool = False,
) -> None:
    """Trains as the objective says, in double precision, one window after another."""
    draws = Draws(seed)
    noise = sampling.noise_R.tolist()
    place = draws.state % len(noise)
    for start, end in zip(bounds, bounds[1:], strict=False):
        done = (start - bounds[0]) / (bounds[-1] - bounds[0])
        rate = rates[0] + (rates[1] - rates[0]) * done
        kept = [
            int(w)
            for w in tokens[start:end]
            if 0 <= w < len(x) and draws.draw() >> 32 <= sampling.keep_V[w]
        ]
        for i, word in enumerate(kept):
            place = 0 if place + 2 * negatives > len(noise) else place
            drawn, place = noise[place : place + negatives], place + negatives
            reach = 1 + (draws.draw() >> 33) % window
            near = [kept[j] for j in range(len(kept)) if 0 < abs(j - i) <= reach]
            if not near:
                continue
            targets = np.array([word, *drawn])
            clash = (targets == word) & (np.arange(len(targets)) > 0)
            rates_J = np.where(clash, 0, rate)
            labels = np.arange(len(targets)) == 0
            inputs = x[near].mean(axis=0)[None] if cbow else x[near]
            gain = rates_J * (labels - sigmoid(inputs @ y[targets].T))  # all from one snapshot
            if cbow:
                moved = inputs.copy()
                move(moved, [0], y, targets, gain)
                np.add.at(x, near, moved - inputs)
            else:
                move(x, near, y, targets, gain)


def move(x: Floats, near: list[int], y: Floats, targets: NDArray[Any], gain: Floats) -> None:
    """Moves rows by six targets at a time; a word that is twice in a window moves twice."""
    for first in range(0, len(targets), 6):
        block = slice(first, first + 6)
        y_rows, steps = y[targets[block]], np.zeros_like(y[targets[block]])
        for c, row in enumerate(near):
            steps += np.outer(gain[c, block], x[row])
            x[row] += gain[c, block] @ y_rows
        np.add.at(y, targets[block], steps)


def task(dimensions: int, seed: int = 0, num_tokens: int = 300) -> dict[str, Any]:
    """Tables with something in them, and sentences of 1 to 12 words, some of them unknown."""
    draws = np.random.default_rng(seed)
    tables = Tables.start(WORDS, dimensions, seed)
    tables.words_VP[:, :dimensions] = draws.normal(size=(WORDS, dimensions)) * 0.3
    tables.contexts_VP[:, :dimensions] = draws.normal(size=(WORDS, dimensions)) * 0.3
    tokens = draws.integers(-1, WORDS + 2, num_tokens).astype(np.int32)
    bounds = np.concatenate([[0], np.cumsum(draws.integers(1, 13, num_tokens))])
    counts = np.arange(WORDS, 0, -1) ** 2
    return {
        "tables": tables,
        "tokens_T": tokens,
        "bounds": np.concatenate([bounds[bounds < num_tokens], [num_tokens]]),
        "sampling": Sampling.of(counts, 0.1, seed),
    }


SETTINGS: dict[str, Any] = {"window": 5, "negatives": 5, "rates": (0.05, 0.01), "seed": 7}


@pytest.mark.parametrize("vectors", [True, False])
@pytest.mark.parametrize(
    ("dimensions", "changed"),
    [
        (100, {}),
        (16, {"window": 1}),
        (7, {"negatives": 1, "window": 3}),
        (33, {"negatives": 6}),  # two blocks of targets, one of them nearly empty
        (20, {"negatives": 17, "window": 8}),
        (100, {"cbow": True}),
        (33, {"cbow": True, "negatives": 7, "window": 2}),
    ],
)
def test_training_is_gradient_ascent_on_the_objective(
    dimensions: int, changed: dict[str, Any], vectors: bool
) -> None:
    settings = {**SETTINGS, **changed}
    given = task(dimensions)
    tables = given["tables"]
    x, y = (t[:, :dimensions].astype(np.float64) for t in (tables.words_VP, tables.contexts_VP))
    start = x.copy()
    by_definition(x, y, given["tokens_T"], given["bounds"], given["sampling"], **settings)
    train_span(**given, **settings, vectors=vectors)
    np.testing.assert_allclose(tables.words_VP[:, :dimensions], x, atol=1e-5)
    np.testing.assert_allclose(tables.contexts_VP[:, :dimensions], y, atol=1e-5)
    assert np.abs(x - start).max() > 0.1  # or the comparison would say nothing


@pytest.mark.parametrize("vectors", [True, False])
def test_a_window_moves_along_the_gradient_that_torch_finds(vectors: bool) -> None:
    given = task(20)
    given["tokens_T"], given["bounds"] = np.array([0, 1], np.int32), np.array([0, 2])
    given["sampling"] = Sampling(
        np.full(WORDS, 2**32 - 1, np.uint32), np.tile(np.array([3, 4, 5], np.int32), 1000)
    )
    tables = given["tables"]
    x, y = (torch.tensor(t, requires_grad=True) for t in (tables.words_VP, tables.contexts_VP))
    # at a small rate the two windows, word 0 with context 1 and the other way, are one step
    objective = torch.zeros(())
    for word, near in ((0, 1), (1, 0)):
        objective = objective + torch.nn.functional.logsigmoid(x[near] @ y[word])
        objective = objective + torch.nn.functional.logsigmoid(-(y[3:6] @ x[near])).sum()
    objective.backward()  # type: ignore[no-untyped-call]
    before = tables.words_VP.copy(), tables.contexts_VP.copy()
    settings = {"window": 1, "negatives": 3, "rates": (1e-3, 1e-3), "seed": 1}
    train_span(**given, **settings, vectors=vectors)
    for table, old, gradient in zip(
        (tables.words_VP, tables.contexts_VP), before, (x.grad, y.grad), strict=True
    ):
        assert gradient is not None
        np.testing.assert_allclose((table - old) / 1e-3, gradient.numpy(), atol=2e-3)


@pytest.mark.parametrize("cbow", [True, False])
@pytest.mark.parametrize("negatives", [5, 11])
def test_the_plain_path_gives_the_numbers_of_the_vectors(cbow: bool, negatives: int) -> None:
    spans, tables = [], []
    for vectors in (True, False):
        given = task(100, num_tokens=5000)
        settings = {**SETTINGS, "negatives": negatives, "cbow": cbow}
        spans.append(train_span(**given, **settings, vectors=vectors))
        tables.append(given["tables"])
    np.testing.assert_allclose(tables[0].words_VP, tables[1].words_VP, rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(tables[0].contexts_VP, tables[1].contexts_VP, rtol=1e-3, atol=2e-5)
    assert spans[0].num_trained == spans[1].num_trained
    assert spans[0].loss == pytest.approx(spans[1].loss, rel=1e-4)


def test_the_same_arguments_give_the_same_bits_and_another_seed_does_not() -> None:
    bits = []
    for seed in (7, 7, 8):
        given = task(50)
        train_span(**given, **{**SETTINGS, "seed": seed})
        bits.append(given["tables"].words_VP.tobytes())
    assert bits[0] == bits[1] != bits[2]


def test_the_padding_stays_zero() -> None:
    given = task(33)
    train_span(**given, **SETTINGS)
    assert given["tables"].words_VP.shape == (WORDS, 48)
    assert not given["tables"].words_VP[:, 33:].any()
    assert not given["tables"].contexts_VP[:, 33:].any()
    assert given["tables"].vectors_VD.shape == (WORDS, 33)


def test_the_loss_of_untrained_contexts_is_a_coin_toss_for_each_target() -> None:
    given = task(16, num_tokens=5000)
    given["tables"].contexts_VP[:] = 0
    # too slow to move anything; a word drawn as its own noise counts nothing
    span = train_span(**given, **{**SETTINGS, "rates": (1e-12, 1e-12)})
    assert 5 * np.log(2) < span.loss < 6 * np.log(2)


def test_the_loss_falls_while_words_are_learnt() -> None:
    given = task(16, num_tokens=5000)
    given["tables"] = Tables.start(WORDS, 16, 0)
    given["tokens_T"] = np.sort(given["tokens_T"])  # the words of a sentence are alike
    losses = [
        train_span(**given, **{**SETTINGS, "rates": (0.005, 0.005), "seed": n}).loss
        for n in range(5)
    ]
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize("rate", [0.0, float("nan")])
def test_a_rate_of_nothing_changes_nothing_and_one_of_nan_is_refused(rate: float) -> None:
    given = task(16)
    before = given["tables"].words_VP.copy()
    if rate == 0:
        span = train_span(**given, **{**SETTINGS, "rates": (rate, rate)})
        assert span == Span(300, span.num_trained, 0.0)
        assert given["tables"].words_VP.tobytes() == before.tobytes()
    else:
        with pytest.raises(ValueError, match="out of range"):
            train_span(**given, **{**SETTINGS, "rates": (rate, rate)})


def test_a_table_of_nan_shows_in_the_loss() -> None:
    given = task(16, num_tokens=5000)
    given["tables"].words_VP[0, 0] = np.nan
    assert np.isnan(train_span(**given, **SETTINGS).loss)


def test_words_outside_of_the_tables_are_dropped_before_the_windows_are_cut() -> None:
    plain, sparse = task(8), task(8)
    keep_all = Sampling(np.full(WORDS, 2**32 - 1, np.uint32), plain["sampling"].noise_R)
    for given, tokens in ((plain, [1, 2, 3]), (sparse, [1, -1, 99, 2, 9, 3])):
        given["tokens_T"] = np.array(tokens, np.int32)
        given["bounds"] = np.array([0, len(tokens)])
        given["sampling"] = keep_all
        span = train_span(**given, **{**SETTINGS, "window": 1})
        assert span.num_trained == 3
    assert plain["tables"].words_VP.tobytes() == sparse["tables"].words_VP.tobytes()


def test_windows_do_not_cross_sentences() -> None:
    given = task(8)
    given["bounds"] = np.arange(301)  # each word is a sentence: there is no pair
    before = given["tables"].words_VP.tobytes()
    span = train_span(**given, **SETTINGS)
    assert (span.num_words, span.loss) == (300, 0.0)
    assert given["tables"].words_VP.tobytes() == before


@pytest.mark.parametrize(
    ("num_words", "tokens", "bounds"),
    [
        (0, [], [0]),
        (0, [1, 2], [0, 2]),
        (1, [0, 0, 0, 0], [0, 4]),
        (2, [], [0, 0]),
        (3, [2], [0, 1]),
    ],
)
@pytest.mark.parametrize("negatives", [1, 30])
def test_tiny_vocabularies_and_texts_train(
    num_words: int, tokens: list[int], bounds: list[int], negatives: int
) -> None:
    tables = Tables.start(num_words, 5, 0)
    sampling = Sampling.of(np.ones(num_words, np.int64), 1e-3, 0)
    settings = {**SETTINGS, "negatives": negatives}
    span = train_span(tables, np.array(tokens, np.int32), np.array(bounds), sampling, **settings)
    assert span.num_words == len(tokens)
    assert np.isfinite(tables.words_VP).all()


def unaligned(table: NDArray[np.float32]) -> NDArray[np.float32]:
    room = np.zeros(table.size + 2 * ALIGNMENT, np.float32)
    start = -room.ctypes.data % ALIGNMENT // 4 + 1
    return room[start : start + table.size].reshape(table.shape)


TABLE = empty_table(4, 20)
FROZEN = empty_table(4, 20)
FROZEN.flags.writeable = False


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (unaligned(TABLE), "does not begin at a multiple of 64"),
        (FROZEN, "read-only"),
        (TABLE.astype(np.float64), r"float64 \(4, 32\), expected contiguous float32 \(4, 32\)"),
        (TABLE[:, :20], r"float32 \(4, 20\), expected contiguous float32 \(4, 32\)"),
        (np.asfortranarray(TABLE), "expected contiguous"),
        (empty_table(3, 20), r"\(3, 32\), expected contiguous float32 \(4, 32\)"),
    ],
)
def test_tables_that_compiled_code_cannot_take_are_refused(
    table: NDArray[np.float32], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Tables(TABLE, table, 20)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"bounds": np.array([0, 5, 3, 300])}, "do not lie in order"),
        ({"bounds": np.array([0, 301])}, "within 300 tokens"),
        ({"bounds": np.array([-1, 300])}, "within 300 tokens"),
        ({"bounds": np.zeros(0, np.int64)}, "do not lie in order"),
        ({"bounds": np.array([0, 300], np.int32)}, "bounds int32, not int32, int64"),
        ({"tokens_T": np.zeros(300, np.int64)}, "tokens are int64"),
        ({"sampling": Sampling.of(np.ones(8), 0, 0)}, "of 8 words, not 9"),
        (
            {"sampling": Sampling(np.ones(9, np.uint32), np.full(99, 9, np.int32))},
            "not among the 9",
        ),
        ({"negatives": 2049}, "4096 drawn noise words are too few for 2049"),
        ({"window": 0}, "window 0"),
        ({"negatives": 0}, "negatives 0"),
        ({"rates": (0.1, -0.1)}, "out of range"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        train_span(**{**task(20), **SETTINGS, **changed})


def test_frequent_words_are_kept_by_the_published_rule() -> None:
    counts = np.array([900, 90, 10])
    keep = Sampling.of(counts, 0.01, 0).keep_V / 2**32
    # sqrt(t / f) + t / f with t .01 and f .9, .09, .01; more than 1 keeps all
    assert keep == pytest.approx([0.1054093 + 0.0111111, 1 / 3 + 1 / 9, 1.0], rel=1e-5)
    assert (Sampling.of(counts, 0.0, 0).keep_V == 2**32 - 1).all()


def test_noise_is_drawn_by_the_counts_to_the_power_three_quarters() -> None:
    sampling = Sampling.of(np.array([16, 1, 81]), 0, 3)
    shares = np.bincount(sampling.noise_R) / len(sampling.noise_R)
    assert shares == pytest.approx([8 / 36, 1 / 36, 27 / 36], abs=1e-3)
    assert len(set(sampling.noise_R[:20].tolist())) > 1  # in no order
    assert padded(100) == 112
