from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import rankwell
from rankwell.serving.keys import KeyStore
from rankwell.serving.service import Service

Ask = Callable[..., httpx.Response]


@pytest.fixture
def asked(
    asking: Callable[..., Ask], collection_of: Callable[..., Path]
) -> Iterator[tuple[Ask, Path]]:
    lines = ('{"_id": "car", "text": "a red car", "metadata": {"kind": "x"}}',)
    folder = collection_of(*lines)
    with rankwell.open(folder) as collection:
        yield asking(collection, Service(keys=KeyStore(folder))), folder


@pytest.mark.parametrize("url", ["/v1/search?q=car", "/v1/documents/car"])
def test_an_answer_is_given_again_only_when_something_has_changed(
    asked: tuple[Ask, Path], url: str
) -> None:
    ask, _ = asked
    etag = ask("GET", url).headers["etag"]
    same = ask("GET", url, headers={"If-None-Match": f'"other", {etag}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert ask("GET", url, headers={"If-None-Match": '"other"'}).status_code == 200
    assert ask("PUT", "/v1/documents/bus", json={"text": "a bus"}).status_code == 200
    changed = ask("GET", url, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


def test_keys_with_other_filters_share_no_tag(asked: tuple[Ask, Path]) -> None:
    ask, folder = asked
    keys = KeyStore(folder)
    filters = (None, {"kind": "x"}, {"kind": "y"})
    tokens = [keys.create("k", ["search"], filter_) for filter_ in filters]
    answers = [
        ask("GET", "/v1/search?q=car", headers={"Authorization": f"Bearer {token}"})
        for token in tokens
    ]
    assert [len(answer.json()["hits"]) for answer in answers] == [1, 1, 0]
    tags = [answer.headers.get("etag") for answer in answers]
    assert len(set(tags)) == 3
    assert answers[0].headers["vary"].lower().count("authorization") == 1
    assert answers[0].headers["cache-control"] == "private, no-cache"


def test_errors_and_degraded_answers_have_no_tag(asked: tuple[Ask, Path]) -> None:
    ask, _ = asked
    assert "etag" not in ask("GET", "/v1/documents/nowhere").headers
    degraded = ask("GET", "/v1/search?q=!!!")
    assert degraded.json()["degraded"]
    assert "etag" not in degraded.headers


def test_large_answers_are_compressed_for_those_who_can_read_it(asked: tuple[Ask, Path]) -> None:
    ask, _ = asked
    for encoding, expected in (("gzip", "gzip"), ("identity", None)):
        answer = ask("GET", "/openapi.json", headers={"Accept-Encoding": encoding})
        assert answer.headers.get("content-encoding") == expected
        assert answer.json()["info"]["title"] == "rankwell"
