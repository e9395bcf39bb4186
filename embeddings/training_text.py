"""The text that word vectors are trained on: a collection's tokens, numbered by trained word.

Shapes: T tokens, B sentences, V trained words.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rankwell.data.config import WordsConfig
from rankwell.data.forward import ForwardIndex
from rankwell.embeddings.phrases import JOINT, Renumbering, find_phrases

_COUNTED_SENTENCES = 1 << 16


@dataclass(frozen=True)
class TrainingText:
    """The sentences of a collection, and the words that get a vector.

    Tokens stay where the forward index has them, memory-mapped; a span of them is made when it is
    asked for.

    Attributes:
        words: surface forms, and phrases such as `new_york`, by falling frequency.
        counts_V: int64; their occurrences.
        tokens_T: int32; surface forms by number.
        sentences: int64 [B + 1]; where sentences begin in tokens_T, and the last one's end.
    """

    words: tuple[str, ...]
    counts_V: NDArray[np.int64]
    tokens_T: NDArray[np.int32]
    sentences: NDArray[np.int64]
    _renumbering: Renumbering | None  # none: the words are the first surface forms

    @classmethod
    def of(cls, forward: ForwardIndex, config: WordsConfig) -> "TrainingText":
        """Chooses the words, and finds the phrases where they are asked for.

        Args:
            forward: the collection.
            config: the [words] section.
        """
        # a small collection needs its rare words: one occurrence is asked for in each 100,000 words
        min_count = min(config.min_count, 1 + len(forward.tokens_T) // 100_000)
        counts_S = np.array(forward.vocabulary.counts_V)
        num_frequent = int(np.searchsorted(-counts_S, -min_count, side="right"))
        keys_N, phrase_counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        if config.phrases:
            found = find_phrases(
                forward.tokens_T,
                forward.sentences,
                counts_S[:num_frequent],
                config.min_count,
                config.phrases,
            )
            keys_N = found.keys_N
            joined = _counts_of_joined(forward, keys_N, len(counts_S))
            counts_S, phrase_counts = joined[: len(counts_S)], joined[len(counts_S) :]
        counts = np.concatenate([counts_S, phrase_counts])
        order = np.argsort(-counts, kind="stable")
        order = order[counts[order] >= min_count][: config.max_words]
        number_of = np.full(len(counts), -1, np.int32)
        number_of[order] = np.arange(len(order), dtype=np.int32)
        surfaces = forward.vocabulary.surfaces
        names = [
            *surfaces,
            *(JOINT.join((surfaces[key >> 32], surfaces[key & 0xFFFFFFFF])) for key in keys_N),
        ]
        words_S, phrases_N = number_of[: len(counts_S)], number_of[len(counts_S) :]
        kept = phrases_N >= 0
        return cls(
            tuple(names[i] for i in order),
            counts[order],
            forward.tokens_T,
            forward.sentences,
            Renumbering(words_S, keys_N[kept], phrases_N[kept]) if len(keys_N) else None,
        )

    @property
    def num_tokens(self) -> int:
        """T, the words of the collection, with those that get no vector."""
        return len(self.tokens_T)

    @property
    def num_sentences(self) -> int:
        """B."""
        return len(self.sentences) - 1

    def __getstate__(self) -> dict[str, object]:
        """Returns what travels to another process: of memory-mapped files, their names."""
        return {
            name: Path(str(value.filename)) if isinstance(value, np.memmap) else value
            for name, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, object]) -> None:
        """Maps the files again."""
        for name, value in state.items():
            mapped = np.load(value, mmap_mode="r") if isinstance(value, Path) else value
            object.__setattr__(self, name, mapped)

    def span(self, first: int, last: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Returns the tokens of sentences from first up to last, and where each begins.

        Numbers that are not in [0, V) stand for words without a vector.
        """
        bounds = np.asarray(self.sentences[first : last + 1])
        tokens_T = self.tokens_T[bounds[0] : bounds[-1]]
        bounds = bounds - bounds[0]
        if self._renumbering is None:
            return np.asarray(tokens_T), bounds
        return self._renumbering.apply(tokens_T, bounds)

    def spans(self, num_tokens: int) -> list[tuple[int, int]]:
        """Returns the first and last sentence of runs of about so many tokens, in order."""
        sentences = self.sentences
        cuts = np.searchsorted(sentences, np.arange(0, self.num_tokens, num_tokens))
        cuts = np.unique(np.concatenate([cuts, [self.num_sentences]])).tolist()
        return list(zip(cuts, cuts[1:], strict=False))


def _counts_of_joined(
    forward: ForwardIndex, keys_N: NDArray[np.int64], num_surfaces: int
) -> NDArray[np.int64]:
    """Returns the counts of surface forms and then of phrases, once phrases are one word."""
    numbers_N = np.arange(num_surfaces, num_surfaces + len(keys_N), dtype=np.int32)
    renumbering = Renumbering(np.arange(num_surfaces, dtype=np.int32), keys_N, numbers_N)
    counts = np.zeros(num_surfaces + len(keys_N), np.int64)
    for start in range(0, len(forward.sentences) - 1, _COUNTED_SENTENCES):
        bounds = np.asarray(forward.sentences[start : start + _COUNTED_SENTENCES + 1])
        joined_T, _ = renumbering.apply(forward.tokens_T, bounds)
        counts += np.bincount(joined_T, minlength=len(counts))
    return counts
