import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from rankwell.data.service import ServingConfig
from rankwell.ranker.collection import Collection
from rankwell.serving.access import known_hosts, role_of
from rankwell.serving.keys import KeyStore
from rankwell.serving.rate import RateLimiter
from rankwell.serving.service import Service

Ask = Callable[..., httpx.Response]
Asking = Callable[..., Ask]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("GET", "/static/page.css", None),
        ("GET", "/", "search"),
        ("GET", "/v1/search", "search"),
        ("POST", "/v1/search", "search"),
        ("POST", "/v1/rerank", "search"),
        ("POST", "/v1/embeddings", "search"),
        ("GET", "/v1/documents/metrics", "search"),
        ("PUT", "/v1/documents/1", "write"),
        ("DELETE", "/v1/documents/1", "write"),
        ("POST", "/v1/clicks", "clicks"),
        ("GET", "/metrics", "admin"),
        ("POST", "/v1/what/is/not/there", "write"),
    ],
)
def test_each_request_needs_its_role(method: str, path: str, role: str | None) -> None:
    assert role_of(method, path) == role


@pytest.fixture
def keyed(asking: Asking, cranfield: Collection, tmp_path: Path) -> tuple[Ask, KeyStore]:
    keys = KeyStore(tmp_path)
    return asking(cranfield, Service(keys=keys)), keys


def test_a_key_opens_what_its_role_allows(keyed: tuple[Ask, KeyStore]) -> None:
    ask, keys = keyed
    assert ask("GET", "/v1/search?q=wing").status_code == 200  # no keys yet
    token = keys.create("shop", ["search"])
    missing = ask("GET", "/v1/search?q=wing")
    assert (missing.status_code, missing.headers["www-authenticate"]) == (401, "Bearer")
    assert missing.json()["title"] == "Unauthorized"
    assert ask("GET", "/").headers["www-authenticate"] == 'Basic realm="rankwell"'
    for wrong in ("", "nonsense", token[:-1], "rw-00000000-" + "a" * 43):
        assert ask("GET", "/v1/search?q=wing", headers=bearer(wrong)).status_code == 401
    assert ask("GET", "/v1/search?q=wing", headers=bearer(token)).status_code == 200
    basic = "Basic " + base64.b64encode(f"anyone:{token}".encode()).decode()
    assert ask("GET", "/?q=wing", headers={"Authorization": basic}).status_code == 200
    for method, url in (("DELETE", "/v1/documents/1"), ("GET", "/metrics")):
        refused = ask(method, url, headers=bearer(token))
        assert refused.status_code == 403
        assert "lacks the role" in refused.json()["detail"]
    assert ask("GET", "/healthz").status_code == 200
    [key] = keys.keys()
    keys.revoke(key.key_id)
    assert ask("GET", "/v1/search?q=wing", headers=bearer(token)).status_code == 401


def test_a_damaged_file_of_keys_closes_the_service(keyed: tuple[Ask, KeyStore]) -> None:
    ask, keys = keyed
    token = keys.create("shop", ["search"])
    keys.path.write_text("{")
    answer = ask("GET", "/v1/search?q=wing", headers=bearer(token))
    assert answer.status_code == 503
    assert str(keys.path) not in answer.text


AUTHOR = {"author": "ting-yili"}


def test_documents_outside_of_a_keys_filter_do_not_exist(
    keyed: tuple[Ask, KeyStore], cranfield: Collection
) -> None:
    ask, keys = keyed
    headers = bearer(keys.create("one author", ["search"], AUTHOR))
    free = bearer(keys.create("all", ["search"]))
    query = "shear flow past a flat plate"
    mine = {hit.doc_id for hit in cranfield.search(query, 200, filter=AUTHOR).hits}
    others = {hit.doc_id for hit in cranfield.search(query, 200).hits} - mine
    assert mine
    assert others

    def found(**more: Any) -> set[str]:
        answer = ask("POST", "/v1/search", json={"query": query, "k": 200, **more}, headers=headers)
        assert answer.status_code == 200, answer.text
        return {hit["doc_id"] for hit in answer.json()["hits"]}

    assert found() == mine
    assert found(filter={"not": AUTHOR}) == set()
    assert found(filter={"author": {"exists": True}}) == mine
    hidden, shown = min(others), min(mine)
    assert ask("GET", f"/v1/documents/{shown}", headers=headers).status_code == 200
    assert ask("GET", f"/v1/documents/{hidden}", headers=free).status_code == 200
    missing = ask("GET", f"/v1/documents/{hidden}", headers=headers)
    nowhere = ask("GET", "/v1/documents/nowhere", headers=headers)
    assert (missing.status_code, nowhere.status_code) == (404, 404)
    assert missing.json()["detail"].replace(hidden, "nowhere") == nowhere.json()["detail"]
    page = ask("GET", "/", params={"q": query}, headers=headers).text
    assert page.count("<article") == min(10, len(mine))


def test_a_key_that_asks_too_often_waits(asking: Asking, cranfield: Collection) -> None:
    ask = asking(cranfield, Service(rate=RateLimiter(0.5, 4.0)))
    statuses = [ask("GET", "/v1/documents/1").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert 1 <= int(ask("GET", "/v1/documents/1").headers["retry-after"]) <= 3
    assert ask("GET", "/healthz").status_code == 200


def test_another_host_name_is_not_answered(asking: Asking, cranfield: Collection) -> None:
    ask = asking(cranfield, Service(hosts=known_hosts("127.0.0.1", ["search.example"])))

    def status(host: str) -> int:
        return ask("GET", "/v1/version", headers={"Host": host}).status_code

    for own in ("localhost", "LOCALHOST:8080", "127.0.0.1:80", "[::1]:8080", "search.example"):
        assert status(own) == 200
    for other in ("evil.example", "localhost.evil.example", "evil.example:8080", "", "[::2]"):
        assert status(other) == 421


def test_a_public_address_answers_to_all_names_unless_some_are_given() -> None:
    assert known_hosts("0.0.0.0", ()) is None
    assert known_hosts("::1", ()) == {"localhost", "127.0.0.1", "[::1]"}
    assert "search.example" in (known_hosts("10.0.0.1", ["search.example"]) or ())


def test_pages_of_other_origins_may_ask_only_where_it_is_configured(
    asking: Asking, cranfield: Collection
) -> None:
    shop = {"Origin": "https://shop.example"}
    closed = asking(cranfield)("GET", "/v1/version", headers=shop)
    assert "access-control-allow-origin" not in closed.headers
    service = Service(config=ServingConfig(cors_origins=("https://shop.example",)))
    ask = asking(cranfield, service)
    answer = ask("GET", "/v1/version", headers=shop)
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    other = ask("GET", "/v1/version", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    asked = {**shop, "Access-Control-Request-Method": "POST"}
    assert ask("OPTIONS", "/v1/search", headers=asked).status_code == 200


def test_a_bound_key_gets_everything_else_from_its_documents_alone(
    keyed: tuple[Ask, KeyStore], cranfield: Collection
) -> None:
    ask, keys = keyed
    headers = bearer(keys.create("one author", ["search"], AUTHOR))
    [mine] = (hit.doc_id for hit in cranfield.search("shear flow", 200, filter=AUTHOR).hits)
    title = cranfield.document(mine).title
    hidden = next(d for d in cranfield.documents if d.doc_id != mine)

    def got(url: str, **params: Any) -> Any:
        answer = ask("GET", url, params=params, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    searched = got("/v1/search", q="shear flow", facets="author", total=True)
    assert searched["total"] == 1
    assert searched["facets"] == {"author": [{"value": "ting-yili", "count": 1}]}
    assert got("/v1/complete", q=title[:8])["completions"] == [title]
    assert got("/v1/complete", q=hidden.title[:8])["completions"] == []
    assert got(f"/v1/documents/{mine}/similar")["hits"] == []
    hidden_similar = ask("GET", f"/v1/documents/{hidden.doc_id}/similar", headers=headers)
    assert hidden_similar.status_code == 404
    assert got("/v1/words/wing/neighbours")["neighbours"] == []
    for url in (f"/documents/{hidden.doc_id}", "/operators"):
        assert ask("GET", url, headers=headers).status_code in (403, 404)
    assert ask("GET", f"/documents/{mine}", headers=headers).status_code == 200
