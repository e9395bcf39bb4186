r"""The analysis as a tokenizer.json, so that sentence-transformers cuts texts as we do.

`rankwell.data.analysis.words` is NFKC, case folding, one kind of apostrophe, and a regular
expression. The same in the terms of Hugging Face's tokenizers, whose \w has marks and underscores
in it. What differs: case folding of Cherokee, of Greek letters with an iota subscript and of a few
old Cyrillic ones, and the cut of words of more than 255 characters.
"""

from collections.abc import Sequence
from typing import Any

# what case folding does beside lower case, for Latin letters and the final sigma
_FOLDED = {letter: letter.casefold() for letter in "\u00df\u01f0\u1e96\u1e97\u1e98\u1e99\u03c2"}

UNKNOWN = "[UNK]"  # no word of a text: the analysis cuts at brackets

_WORD_CHARACTER = r"\p{L}\p{N}"
_MARK = r"\p{Mn}\p{Mc}"
_IDEOGRAPH = (
    r"\x{2e80}-\x{2fdf}\x{3005}-\x{3007}\x{3040}-\x{309f}\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}"
    r"\x{f900}-\x{faff}\x{20000}-\x{2ffff}"
)
_LETTER = rf"[{_WORD_CHARACTER}&&[^{_IDEOGRAPH}]]"
_WORD = rf"[{_IDEOGRAPH}&&[{_WORD_CHARACTER}]]|{_LETTER}+(?:[{_MARK}]+{_LETTER}*|'{_LETTER}+)*"


def tokenizer_json(words: Sequence[str]) -> dict[str, Any]:
    """Returns the tokenizer whose tokens are words, each with its place; others are unknown."""
    vocabulary = {word: row for row, word in enumerate((*words, UNKNOWN))}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "NFKC"},
                {"type": "Lowercase"},
                *(_replaced(letter, folded) for letter, folded in _FOLDED.items()),
                _replaced("\u2019", "'"),
            ],
        },
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": _WORD},
            "behavior": "Removed",
            "invert": True,
        },
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN},
    }


def _replaced(found: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": found}, "content": by}
