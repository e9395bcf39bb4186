"""Analysis: how a text becomes words, and a word becomes a term; the same for everything.

A text is segmented once into surface forms (what word embeddings see). A table over the
vocabulary then gives each surface form its term (what lexical fields and BM25 see): its synonym
group or Snowball stem, or nothing where it is a stop word.
"""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import Stemmer
from numpy.typing import NDArray

from rankwell.data.config import AnalysisConfig
from rankwell.data.errors import ConfigError, DamagedVersion, nearest

ANALYSIS_VERSION = 1

# The function words that carry next to no meaning in English search, as Lucene's default has them.
ENGLISH_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be but by for if in into is it no not of on or such that the their "
        "then there these they this to was will with",
    )
)

MAX_WORD_LENGTH = 255
# Planes 2 and 3 are ideographs; the selectors of their variants, far behind, cut as spaces do.
_MARKS_END = 0x20000

# A stop, and after it a capital or a letter of a script that has none; a stop that stands apart, as
# in text that was cut into words before; an empty line. No word lies in what is matched. It begins
# with one set of characters, which the search looks for at once.
_SENTENCE_END = re.compile(
    r"""[.!?\n\u3002\uff01\uff1f](?:"""
    r"""(?<=\n)\s*\n|(?<=[\u3002\uff01\uff1f])|(?<=\s[.!?])(?=\s)"""
    r"""|(?<=[.!?])["'\u201d\u2019)\]]*\s+(?=["'\u201c\u2018(\[]*[^\W\da-z_]))"""
)


def _ranges(accept: frozenset[str]) -> str:
    """Returns the characters of some Unicode categories as ranges for a regular expression."""
    ranges, start = [], None
    for code in range(_MARKS_END):
        if unicodedata.category(chr(code)) in accept:
            start = code if start is None else start
        elif start is not None:
            ranges.append(f"{chr(start)}-{chr(code - 1)}")
            start = None
    return "".join(ranges)


# Python's \w leaves combining marks out, which would cut words of Hindi, Thai or vocalised Arabic.
# They stand in a class of their own: a class without \w compiles to a bitmap, twice as fast.
_MARKS = _ranges(frozenset({"Mn", "Mc"}))
_WORD = re.compile(rf"\w+(?:[{_MARKS}]+\w*|'\w+)*")
# Scripts without spaces between words: each character is a word, as UAX #29 has it.
_IDEOGRAPH = re.compile(
    "[\u2e80-\u2fdf\u3005-\u3007\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)

# What a character of a normalised text is to the segmentation; see `character_kinds`.
SEPARATOR, LETTER, MARK, APOSTROPHE, IDEOGRAPH = range(5)


def normalise(text: str) -> str:
    r"""Returns text in Unicode NFKC form, case-folded, with one kind of apostrophe.

    >>> normalise("Straße L\u2019Été")
    "strasse l'été"
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")


def words(text: str) -> list[str]:
    """Returns the surface forms of a text, in order.

    >>> words("Newton's laws of motion, snake_case & 東京")
    ["newton's", 'laws', 'of', 'motion', 'snake', 'case', '東', '京']
    """
    text = normalise(text).replace("_", " ")
    if not text.isascii() and _IDEOGRAPH.search(text):
        text = _IDEOGRAPH.sub(r" \g<0> ", text)
    found = _WORD.findall(text)
    if max(map(len, found), default=0) > MAX_WORD_LENGTH:
        return [word[:MAX_WORD_LENGTH] for word in found]
    return found


@cache
def character_kinds() -> NDArray[np.uint8]:
    """Returns what each code point is to `words`, for a segmentation that is compiled: uint8.

    A word starts with a letter and goes on through letters, marks, and apostrophes before a
    letter; an ideograph is a word by itself. The expressions of `words` are asked themselves, so
    that both know the same Unicode.
    """
    everything = np.arange(0x110000, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    kinds = np.full(len(everything), SEPARATOR, np.uint8)
    for match in re.finditer(f"[{_MARKS}]+", everything[:_MARKS_END]):
        kinds[match.start() : match.end()] = MARK
    for match in re.finditer(r"\w+", everything):
        kinds[match.start() : match.end()] = LETTER
    for match in re.finditer(_IDEOGRAPH.pattern + "+", everything):
        found = kinds[match.start() : match.end()]
        found[:] = np.where(found == LETTER, IDEOGRAPH, SEPARATOR)
    kinds[ord("_")], kinds[ord("'")] = SEPARATOR, APOSTROPHE
    return kinds


def sentences(text: str) -> list[str]:
    """Returns the sentences of a text, in order; their words are the words of the text.

    >>> sentences("It cost 3.5 million. Who paid? No one (e.g. the state) did.")
    ['It cost 3.5 million.', 'Who paid?', 'No one (e.g. the state) did.']
    """
    starts = [*sentence_starts(text), len(text)]
    return [text[start:end].strip() for start, end in zip(starts, starts[1:], strict=False)]


def sentence_starts(text: str) -> list[int]:
    """Returns the character at which each sentence of a text begins, in order.

    >>> sentence_starts("Who paid? No one did.")
    [0, 10]
    """
    return [0, *(match.end() for match in _SENTENCE_END.finditer(text))]


@dataclass(frozen=True, slots=True)
class AnalysedQuery:
    """A query after analysis.

    Attributes:
        text: the query as it was asked.
        surfaces: its words in order, stop words included.
        terms: its distinct terms, in order of first occurrence.
        counts: how often each term occurs in the query.
        forms: the surface form in which each term occurs first.
        sequence: the terms in order, as places in `terms`; stop words are left out.
    """

    text: str
    surfaces: tuple[str, ...]
    terms: tuple[str, ...]
    counts: tuple[int, ...]
    forms: tuple[str, ...]
    sequence: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnalysisTables:
    """All that analysis depends on, as a version keeps it.

    Attributes:
        language: a Snowball stemmer's name, or none.
        stop_words: surface forms without a term.
        groups: the canonical stem of each stem in a synonym group.
    """

    language: str
    stop_words: tuple[str, ...]
    groups: Mapping[str, str]


class Analyzer:
    """Turns texts into words and words into terms."""

    def __init__(self, tables: AnalysisTables) -> None:
        """Takes tables that are checked already; see `Analyzer.configured` and `Analyzer.load`."""
        self._tables = tables
        self._stemmer = _stemmer(tables.language)
        self._stop_words = frozenset(tables.stop_words)
        self._groups = dict(tables.groups)
        content = [ANALYSIS_VERSION, unicodedata.unidata_version, asdict(tables)]
        self.fingerprint = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[
            :16
        ]

    @classmethod
    def configured(cls, config: AnalysisConfig, folder: Path = Path()) -> "Analyzer":
        """Reads the stop words and the synonyms that a configuration names.

        Args:
            config: the [analysis] section.
            folder: where relative file names of the configuration start.

        Raises:
            ConfigError: the language is not one of Snowball's, or a file cannot be used.
        """
        languages = Stemmer.algorithms()
        if config.language != "none" and config.language not in languages:
            raise ConfigError(
                f"[analysis] language is '{config.language}', which Snowball does not have; "
                f"{nearest(config.language, [*languages, 'none'])}"
            )
        stop_words = tuple(sorted(_load_stop_words(config, folder)))
        groups = _load_synonyms(config, folder)
        return cls(AnalysisTables(config.language, stop_words, groups))

    def save(self, path: Path) -> None:
        """Writes the tables, so that a version does not depend on files outside of it."""
        path.write_text(json.dumps(asdict(self._tables), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Analyzer":
        """Reads the tables of a version.

        Raises:
            DamagedVersion: the file is missing or malformed.
        """
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            return cls(AnalysisTables(raw["language"], tuple(raw["stop_words"]), raw["groups"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedVersion(f"{path} cannot be used: {error}") from None

    def terms(self, surfaces: Sequence[str]) -> list[str | None]:
        """Returns the term of each surface form, or None where it is a stop word."""
        stems = self._stems(surfaces)
        return [
            None if surface in self._stop_words else self._groups.get(stem, stem)
            for surface, stem in zip(surfaces, stems, strict=True)
        ]

    def query(self, text: str) -> AnalysedQuery:
        """Analyses a query; one of stop words alone has words but no terms."""
        surfaces = words(text)
        pairs = [
            (term, surface)
            for term, surface in zip(self.terms(surfaces), surfaces, strict=True)
            if term is not None
        ]
        counts = Counter(term for term, _ in pairs)
        forms = dict(reversed(pairs))  # the first of several wins
        places = {term: place for place, term in enumerate(counts)}
        return AnalysedQuery(
            text=text,
            surfaces=tuple(surfaces),
            terms=tuple(counts),
            counts=tuple(counts.values()),
            forms=tuple(forms[term] for term in counts),
            sequence=tuple(places[term] for term, _ in pairs),
        )

    def _stems(self, surfaces: Sequence[str]) -> list[str]:
        return _stems(self._stemmer, surfaces)


def _stemmer(language: str) -> "Stemmer.Stemmer | None":
    # without its cache, which takes four times the work of a vocabulary of distinct words
    return None if language == "none" else Stemmer.Stemmer(language, 0)


def _stems(stemmer: "Stemmer.Stemmer | None", surfaces: Sequence[str]) -> list[str]:
    if stemmer is None:
        return list(surfaces)
    # A stem can be empty for a word of suffixes alone; the word itself is the better term.
    found = stemmer.stemWords(list(surfaces))
    return [stem or word for stem, word in zip(found, surfaces, strict=True)]


def _load_synonyms(config: AnalysisConfig, folder: Path) -> dict[str, str]:
    """Reads lines `car, automobile, motorcar`: words that count as one term."""
    groups: dict[str, str] = {}
    if not config.synonyms:
        return groups
    path, stemmer = folder / config.synonyms, _stemmer(config.language)
    for number, line in enumerate(_read_lines(path, "[analysis] synonyms"), start=1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        members = [words(part) for part in line.split(",")]
        if len(members) < 2 or any(len(member) != 1 for member in members):
            raise ConfigError(
                f"{path}, line {number}: expected single words with commas between them, "
                f"such as 'car, automobile', found '{line}'"
            )
        stems = _stems(stemmer, [member[0] for member in members])
        for stem in stems:
            if stem in groups:
                raise ConfigError(
                    f"{path}, line {number}: '{stem}' is in two groups; join the two lines"
                )
        groups.update(dict.fromkeys(stems, stems[0]))
    return groups


def _read_lines(path: Path, setting: str) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ConfigError(f"{setting} names {path}, which does not exist") from None
    except OSError as error:
        raise ConfigError(
            f"{setting} names {path}, which cannot be read: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{setting} names {path}, which is not UTF-8 text") from None


def _load_stop_words(config: AnalysisConfig, folder: Path) -> frozenset[str]:
    if config.stop_words == "none":
        return frozenset()
    if config.stop_words == "auto":
        return ENGLISH_STOP_WORDS if config.language in ("english", "porter") else frozenset()
    lines = _read_lines(folder / config.stop_words, "[analysis] stop_words")
    return frozenset(word for line in lines for word in words(line.split("#")[0]))
