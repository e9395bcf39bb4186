"""Snippets: the part of a text that shows best why it was found, with the matches marked."""

import html
from collections.abc import Iterator
from itertools import islice

from rankwell.data.analysis import AnalysedQuery, Analyzer, is_one_to_one, word_spans, words

SNIPPET_WORDS = 40
# Past this many characters a text is not looked at: a page must not wait for one huge document.
MAX_CHARACTERS = 20_000


def snippet(
    text: str, query: AnalysedQuery, analyzer: Analyzer, passage: tuple[int, int] | None = None
) -> str:
    """Returns the window of a text with most of the query's distinct terms, as safe HTML.

    All of the text is escaped; the only markup is <mark> around matching words.

    Args:
        text: of the document.
        query: whose words are marked.
        analyzer: of the version.
        passage: the part of the text to show; None: all of it.
    """
    begin, end = passage or (0, len(text))
    cut, text = (begin > 0, end < len(text)), text[begin:end][:MAX_CHARACTERS]
    # most texts need no place of a word outside of the window, and the places are what takes time
    separate = None if is_one_to_one(text) else _separate(word_spans(text))
    forms = words(text) if separate is None else [form for form, _, _ in separate]
    wanted = set(query.terms)
    terms = {form: analyzer.term(form) for form in set(forms)}
    matching = {form for form, term in terms.items() if term in wanted}
    hits = [place for place, form in enumerate(forms) if form in matching]
    first = _best_window(hits, [terms[forms[place]] for place in hits], len(forms))
    if separate is None:
        shown = list(islice(word_spans(text, first), SNIPPET_WORDS))
    else:
        shown = separate[first : first + SNIPPET_WORDS]
    if not shown:
        return html.escape(text[:300])
    pieces = ["… " if first or cut[0] else ""]
    at = 0 if not first else shown[0][1]
    for form, start, end in shown:
        if form in matching:
            pieces += html.escape(text[at:start]), f"<mark>{html.escape(text[start:end])}</mark>"
            at = end
    if first + SNIPPET_WORDS < len(forms):
        pieces += html.escape(text[at : shown[-1][2]]), " …"
    else:
        pieces += html.escape(text[at:]), " …" if cut[1] else ""
    return "".join(pieces)


def _best_window(hits: list[int], terms: list[str | None], num_words: int) -> int:
    """Returns the first word of the window with most distinct terms, then most matches."""
    best, best_value = 0, (0, 0)
    right = 0
    for left, place in enumerate(hits):
        right = max(right, left)
        while right < len(hits) and hits[right] < place + SNIPPET_WORDS:
            right += 1
        value = (len(set(terms[left:right])), right - left)
        if value > best_value:
            # a few words before the first match make it readable, where the last leaves them room
            room = place + SNIPPET_WORDS - 1 - hits[right - 1]
            best, best_value = max(0, place - min(5, room)), value
    return max(0, min(best, num_words - SNIPPET_WORDS))


def _separate(spans: Iterator[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Returns spans without those that begin inside the one before: one character can be words."""
    kept: list[tuple[str, int, int]] = []
    for span in spans:
        if not kept or span[1] >= kept[-1][2]:
            kept.append(span)
    return kept
