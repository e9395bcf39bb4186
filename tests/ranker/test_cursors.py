import base64
from dataclasses import replace

import numpy as np
import pytest

from rankwell.data.errors import InputError, StaleCursor
from rankwell.ranker.cursors import Cursor, digest

CURSOR = Cursor("000002", "abc", "ranked", 10, "d/7 é")


def test_a_cursor_reads_back_as_it_was_written() -> None:
    text = CURSOR.encoded()
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert Cursor.read(text, "000002", "abc") == CURSOR
    in_part = replace(CURSOR, ranked=40, skipped=("dense",))
    assert Cursor.read(in_part.encoded(), "000002", "abc") == in_part


def test_a_cursor_of_another_version_is_gone_and_says_what_to_do() -> None:
    with pytest.raises(StaleCursor, match="of version 000002, and version 000003 is") as caught:
        Cursor.read(CURSOR.encoded(), "000003", "abc")
    assert (caught.value.http_status, caught.value.field) == (410, "cursor")
    assert "start again without a cursor" in str(caught.value)


def test_a_cursor_of_another_search_is_refused() -> None:
    with pytest.raises(InputError, match="belongs to another search") as caught:
        Cursor.read(CURSOR.encoded(), "000002", "abd")
    assert (caught.value.http_status, caught.value.field) == (400, "cursor")


def test_a_cursor_goes_on_with_its_own_stage_and_no_other() -> None:
    assert Cursor.read(CURSOR.encoded(), "000002", "abc", "ranked").stage == "ranked"
    with pytest.raises(InputError, match="belongs to another search"):
        Cursor.read(CURSOR.encoded(), "000002", "abc", "fused")


def encoded(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!",
        "a",
        "é",
        encoded("{}"),
        encoded("5"),
        encoded('["000002"]'),
        encoded('["000002", "abc", "ranked", "10", "x"]'),
        encoded('["000002", "abc", "ranked", true, "x"]'),
        encoded('["000002", "abc", "ranked", -1, "x"]'),
        encoded('["000002", "abc", "ranked", 1, ["x"]]'),
        encoded('["000002", "abc", "ranked", 1, "x", 0]'),
        encoded('["000002", "abc", "ranked", 1, "x", 1.5]'),
        encoded('["000002", "abc", "ranked", 1, "x", null, 5]'),
        encoded('["000002", "abc", "ranked", 1, "x", null, [5]]'),
        CURSOR.encoded()[:-3],
    ],
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not one of ours"):
        Cursor.read(text, "000002", "abc")


def test_the_next_page_begins_after_the_last_hit_or_where_it_was() -> None:
    rows_K = np.array([9, 4, 7])
    assert CURSOR.place_in(rows_K, 4) == 2
    assert Cursor("1", "a", "fused", 1, "x").place_in(rows_K, -1) == 1
    assert CURSOR.place_in(rows_K, -1) == 3


def test_a_digest_minds_values_and_not_the_order_of_keys() -> None:
    assert digest(["q", {"a": 1, "b": 2}]) == digest(["q", {"b": 2, "a": 1}])
    assert digest(["q", {"a": 1}]) != digest(["q", {"a": True}])
    assert digest(["q", 10**400]) != digest(["q", None])
