import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwell.embeddings.spelling import nearest_spellings

WORDS = st.text("abc", min_size=0, max_size=7)


def edits(a: str, b: str) -> int:
    """Optimal string alignment by its recurrence."""
    table = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i][j] = min(
                table[i - 1][j] + 1,
                table[i][j - 1] + 1,
                table[i - 1][j - 1] + (a[i - 1] != b[j - 1]),
            )
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


@given(WORDS, st.lists(WORDS, max_size=12))
def test_the_nearest_come_first_and_of_equals_the_first_known(word: str, known: list[str]) -> None:
    limit = min(2, (len(word) - 1) // 2)
    within = [other for other in known if edits(word, other) <= limit] if limit > 0 else []
    expected = sorted(within, key=lambda other: edits(word, other))[:3]  # stable
    assert nearest_spellings(word, known) == expected


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("vacine", ["machine", "vaccine", "vaccines"], ["vaccine", "machine", "vaccines"]),
        ("naïve", ["native", "naive"], ["naive", "native"]),
        ("東京都", ["東京", "京都"], ["東京", "京都"]),
        ("ab", ["ab", "ac"], []),  # of two letters any word is near
        ("", ["a"], []),
        ("word", [], []),
    ],
)
def test_examples(word: str, known: list[str], near: list[str]) -> None:
    assert nearest_spellings(word, known) == near
