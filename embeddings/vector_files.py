"""Files of word vectors, as word2vec, GloVe and fastText write them.

Text: a line for each word, the word and its numbers with spaces between them; word2vec and fastText
write the number of words and the dimensions on a line before, GloVe does not. Binary (word2vec):
that line, then each word, a space, and its numbers as little-endian float32.

Shapes: V words, D dimensions, M words of a file that are asked for.
"""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from rankwell.data.errors import InputError
from rankwell.embeddings.word_vectors import WordVectors


def write_text(vectors: WordVectors, path: Path) -> None:
    """Writes word2vec's text form."""
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{len(vectors.words)} {vectors.vectors_VD.shape[1]}\n")
        for word, vector_D in zip(vectors.words, vectors.vectors_VD.tolist(), strict=True):
            file.write(f"{word} {' '.join(f'{number:.9g}' for number in vector_D)}\n")


def write_binary(vectors: WordVectors, path: Path) -> None:
    """Writes word2vec's binary form."""
    little = vectors.vectors_VD.astype("<f4")
    with path.open("wb") as file:
        file.write(f"{len(vectors.words)} {little.shape[1]}\n".encode())
        for word, vector_D in zip(vectors.words, little, strict=True):
            file.write(word.encode() + b" " + vector_D.tobytes() + b"\n")


def read_start(
    path: Path, words: Sequence[str], dimensions: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Reads the vectors of some words from a text file, plain or .gz.

    A word of the file stands for the same word, or else for the same in lower case; the first of
    several wins.

    Args:
        path: the file.
        words: those asked for.
        dimensions: that each vector must have.

    Returns:
        The places in `words` that were found, and their vectors: int64 [M], float32 [M, D].

    Raises:
        InputError: the file does not exist, is cut off or malformed, has other dimensions, or has
            none of the words.
    """
    number_of = {word: number for number, word in enumerate(words)}
    same: dict[int, NDArray[np.float32]] = {}
    lowered: dict[int, NDArray[np.float32]] = {}
    try:
        with _opened(path) as file:
            promised, seen = None, 0
            for line_number, line in enumerate(file, start=1):
                parts = line.rstrip().split(b" ")
                if line_number == 1 and len(parts) == 2:
                    promised, size = (int(part) for part in parts)
                    _check_dimensions(path, size, dimensions)
                    continue
                seen += 1
                if len(parts) != dimensions + 1:
                    if line_number == 1:
                        _check_dimensions(path, len(parts) - 1, dimensions)
                    raise InputError(
                        f"{path}, line {line_number} has {len(parts) - 1} numbers where "
                        f"{dimensions} belong; it may be cut off: fetch or write it again"
                    )
                word = parts[0].decode("utf-8", "replace")
                for form, taken in ((word, same), (word.lower(), lowered)):
                    if (number := number_of.get(form)) is not None and number not in taken:
                        taken[number] = np.array(parts[1:], np.float32)
    except FileNotFoundError:
        raise InputError(f"[words] start names {path}, which does not exist") from None
    except (EOFError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is no file of word vectors in text form, or is cut off: {error}"
        ) from None
    if promised is not None and seen != promised:
        raise InputError(
            f"{path} promises {promised} words and has {seen}; it is cut off: fetch or write it "
            "again"
        )
    found = lowered | same
    if not found:
        raise InputError(f"{path} has none of the collection's {len(words)} words")
    vectors = np.stack(list(found.values()))
    if not np.isfinite(vectors).all():
        raise InputError(f"{path} holds numbers that are not finite; fetch or write it again")
    return np.fromiter(found, np.int64, len(found)), vectors


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _check_dimensions(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise InputError(
            f"the vectors in {path} have {found} dimensions, [words] dimensions is {expected}; "
            f"set it to {found}"
        )
