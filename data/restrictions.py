"""What a document must be to be found at all: filters, quoted phrases, excluded words.

    wing "boundary layer" -tunnel -"wind tunnel"

A person's query is text with two marks: a phrase in quotation marks must occur, and what follows a
minus at the start of a word must not. Everything else is text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rankwell.data.analysis import words

# a minus begins a word: in "well-known" and "5 - 3" it is none of ours
_MARKED = re.compile(r'(?<!\S)(-?)["“”„]([^"“”„]+)["“”„]|(?<!\S)-(?=[^\W_])(\S+)')


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What the documents of a search must be; no score depends on it.

    Attributes:
        filters: conditions on fields, which must all hold; see `rankwell.data.filters`.
        required: phrases that must occur, as surface forms in order.
        excluded: words and phrases that must not occur, likewise.
    """

    filters: tuple[Mapping[str, Any], ...] = ()
    required: tuple[tuple[str, ...], ...] = ()
    excluded: tuple[tuple[str, ...], ...] = ()

    def __bool__(self) -> bool:
        """Returns whether there are any."""
        return bool(self.filters or self.required or self.excluded)


NO_RESTRICTIONS = Restrictions()


def read_query(query: str) -> tuple[str, Restrictions]:
    """Returns the text of a person's query, and what its marks ask for.

    Quoted words stay in the text, which is what is scored; excluded ones do not. A quotation mark
    without another is text.

    >>> text, marks = read_query('wing "boundary layer" -tunnel well-known')
    >>> text
    'wing boundary layer  well-known'
    >>> marks.required, marks.excluded
    ((('boundary', 'layer'),), (('tunnel',),))
    """
    required: list[tuple[str, ...]] = []
    excluded: list[tuple[str, ...]] = []

    def read(match: re.Match[str]) -> str:
        minus, quoted, word = match.groups()
        unwanted = bool(minus or word)
        content = word or quoted
        if found := tuple(words(content)):
            (excluded if unwanted else required).append(found)
        return "" if unwanted else content

    text = _MARKED.sub(read, query)
    return text, Restrictions((), tuple(required), tuple(excluded))
