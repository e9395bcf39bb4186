import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import rankwell
from rankwell.ranker.collection import Collection
from rankwell.serving.app import create_app
from rankwell.serving.following import Live

QUERY = "heat transfer in a boundary layer"
AUTHOR = {"author": "ting-yili"}
ANSWER = {
    *("version", "query", "took_ms", "stages", "degraded", "hits"),
    *("query_id", "total", "facets", "next_cursor", "suggestion"),
}
HIT = {"rank", "doc_id", "score", "title", "snippet", "fields"}
JSON = {"content-type": "application/json"}

Ask = Callable[..., httpx.Response]


def asker(collection: Any) -> Ask:
    """Returns a function that sends one request to the application, in this process."""
    transport = httpx.ASGITransport(create_app(Live(collection)), raise_app_exceptions=False)

    async def send(method: str, url: str, **more: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, url, **more)

    return lambda method, url, **more: asyncio.run(send(method, url, **more))


@pytest.fixture(scope="module")
def ask(cranfield: Collection) -> Ask:
    return asker(cranfield)


@pytest.fixture
def hostile(collection_of: Callable[..., Path]) -> Iterator[Ask]:
    """An application over documents that would run a script if they were not escaped."""
    evil = '<script>alert("wing")</script>'
    ids = ("a/b?c=d#e%20f", '"><img src=x onerror=alert(1)>')
    records = [
        {"_id": i, "title": evil, "text": f"a wing {evil}", "metadata": {"by": evil, "<b>": "x"}}
        for i in ids
    ]
    with rankwell.open(collection_of(*map(json.dumps, records))) as collection:
        yield asker(collection)


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Returns an answer's RFC 9457 object, after checking its form."""
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["title"]
    assert found["detail"]
    return found


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_search_answers_with_exactly_the_documented_shape(ask: Ask, method: str) -> None:
    sent = {"params": {"q": QUERY}} if method == "GET" else {"json": {"query": QUERY}}
    response = ask(method, "/v1/search", **sent)
    answer = response.json()
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert set(answer) == ANSWER
    assert (answer["version"], answer["query"], answer["degraded"]) == ("000002", QUERY, [])
    assert all(set(stage) == {"name", "ms", "candidates"} for stage in answer["stages"])
    names = [stage["name"] for stage in answer["stages"]]
    assert names == ["query", "lexical", "dense", "fused", "features", "ranked", "page"]
    assert all(set(hit) == HIT for hit in answer["hits"])
    assert [hit["rank"] for hit in answer["hits"]] == list(range(1, 11))
    scores = [hit["score"] for hit in answer["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert "<mark>boundary</mark>" in answer["hits"][0]["snippet"]
    assert set(answer["hits"][0]["fields"]) <= {"author", "source"}


def test_get_and_post_give_the_hits_of_the_library(ask: Ask, cranfield: Collection) -> None:
    wanted = [(h.doc_id, h.score) for h in cranfield.search(QUERY, 7, filter={"not": AUTHOR}).hits]
    params = {"q": QUERY, "k": 7, "filter": json.dumps({"not": AUTHOR})}
    body = {"query": QUERY, "k": 7, "filter": {"not": AUTHOR}}
    for answer in (ask("GET", "/v1/search", params=params), ask("POST", "/v1/search", json=body)):
        assert [(hit["doc_id"], hit["score"]) for hit in answer.json()["hits"]] == wanted
    assert len(wanted) == 7


def test_a_filter_keeps_only_what_it_names(ask: Ask) -> None:
    body = {"query": "shear flow past a flat plate", "filter": AUTHOR}
    hits = ask("POST", "/v1/search", json=body).json()["hits"]
    assert hits
    assert {hit["fields"]["author"] for hit in hits} == {"ting-yili"}
    nobody = {"query": QUERY, "filter": {"author": "nobody at all"}}
    assert ask("POST", "/v1/search", json=nobody).json()["hits"] == []


def test_explain_adds_the_scores_of_each_stage_and_the_features(ask: Ask) -> None:
    answer = ask("GET", "/v1/search", params={"q": QUERY, "k": 3, "explain": True}).json()
    assert set(answer) == ANSWER | {"explanations"}
    for hit, why in zip(answer["hits"], answer["explanations"], strict=True):
        assert set(why) == {"doc_id", "scores", "features", "moved", "words"}
        assert why["doc_id"] == hit["doc_id"]
        assert {"fused", "ranked"} <= set(why["scores"]) <= {"lexical", "dense", "fused", "ranked"}
        assert why["scores"]["ranked"] == hit["score"]
        assert all(isinstance(value, float) for value in why["features"].values())
        assert why["features"]


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({}, "query", "required"),
        ({"query": 5}, "query", "string"),
        ({"query": None}, "query", "string"),
        ({"query": "  \n"}, "query", "empty"),
        ({"query": "x" * 100_001}, "query", "100000"),
        ({"query": "x", "size": 3}, "size", "size"),
        ({"query": "x", "k": "ten"}, "k", "integer"),
        ({"query": "x", "k": 1.5}, "k", "integer"),
        ({"query": "x", "k": 0}, "k", "from 1 to 200"),
        ({"query": "x", "k": 201}, "k", "from 1 to 200"),
        ({"query": "x", "explain": "maybe"}, "explain", "boolean"),
        ({"query": "x", "filter": "author"}, "filter", "dictionary"),
        ({"query": "x", "filter": {"autor": "a"}}, "filter", "did you mean 'author'?"),
        ({"query": "x", "filter": {"author": {"near": "a"}}}, "filter", "near"),
        ({"query": "x", "filter": {"author": 3}}, "filter", "author"),
        ({"query": "x", "filter": {"not": 3}}, "filter", "object"),
    ],
)
def test_a_bad_body_is_a_problem_that_names_the_field(
    ask: Ask, body: dict[str, Any], field: str, says: str
) -> None:
    found = problem(ask("POST", "/v1/search", json=body), 400)
    assert says in found["detail"]
    assert found["field"] == field


@pytest.mark.parametrize(
    ("params", "field", "says"),
    [
        ({}, "q", "required"),
        ({"q": " "}, "q", "empty"),
        ({"q": "x", "k": "ten"}, "k", "integer"),
        ({"q": "x", "k": "-1"}, "k", "from 1 to 200"),
        ({"q": "x", "filter": "{"}, "filter", "not JSON"),
        ({"q": "x", "filter": "[]"}, "filter", "not a JSON object"),
        ({"q": "x", "filter": '{"autor": "a"}'}, "filter", "did you mean 'author'?"),
    ],
)
def test_a_bad_parameter_is_a_problem_that_names_it(
    ask: Ask, params: dict[str, str], field: str, says: str
) -> None:
    found = problem(ask("GET", "/v1/search", params=params), 400)
    assert says in found["detail"]
    assert found["field"] == field


@pytest.mark.parametrize("body", [b"{not json", b'{"query": "x",}', b"\xff\xfe", b""])
def test_a_body_that_is_not_json_is_said_to_be_the_fault(ask: Ask, body: bytes) -> None:
    found = problem(ask("POST", "/v1/search", content=body, headers=JSON), 400)
    assert "body" in found["detail"]
    assert not found.get("field", "").isdigit()


def test_a_body_that_is_no_object_is_refused(ask: Ask) -> None:
    assert "body" in problem(ask("POST", "/v1/search", json=["wing"]), 400)["detail"]


@pytest.mark.parametrize("depth", [500, 990, 3000])
def test_a_deeply_nested_filter_never_breaks_the_server(ask: Ask, depth: int) -> None:
    body = '{"query": "x", "filter": ' + '{"not":' * depth + "{}" + "}" * depth + "}"
    assert ask("POST", "/v1/search", content=body, headers=JSON).status_code in (200, 400)
    text = '{"not":' * depth + "{}" + "}" * depth
    params = {"q": "x", "filter": text}
    assert ask("GET", "/v1/search", params=params).status_code in (200, 400)


ODD = ["!!!", "the of", "wing\x00", "na\u00efve \u200b\u7ffc \U0001d534", '"<b>', "x" * 99_999]


@pytest.mark.parametrize("query", ODD)
def test_an_odd_query_is_answered(ask: Ask, query: str) -> None:
    response = ask("POST", "/v1/search", json={"query": query, "k": 1})
    assert response.status_code == 200
    assert response.json()["query"] == query


def test_half_a_character_is_refused_not_crashed_on(ask: Ask) -> None:
    sent = b'{"query": "\\ud800 wing"}'
    assert problem(ask("POST", "/v1/search", content=sent, headers=JSON), 400)["field"] == "query"


def test_a_document_is_given_whole(ask: Ask, cranfield: Collection) -> None:
    wanted = cranfield.document("2")
    assert ask("GET", "/v1/documents/2").json() == {
        "doc_id": "2",
        "title": wanted.title,
        "text": wanted.text,
        "fields": dict(wanted.fields),
    }


@pytest.mark.parametrize(
    "path", ["99999", "a/b", "..%2F..%2Fetc%2Fpasswd", "%00", "%ff", "x%20y", ""]
)
def test_an_unknown_document_is_not_found(ask: Ask, path: str) -> None:
    assert "no document" in problem(ask("GET", f"/v1/documents/{path}"), 404)["detail"]


def test_a_document_with_an_odd_id_is_found_by_its_escaped_path(hostile: Ask) -> None:
    answer = hostile("GET", "/v1/documents/a%2Fb%3Fc%3Dd%23e%2520f")
    assert answer.json()["doc_id"] == "a/b?c=d#e%20f"
    link = '/documents/a/b%3Fc%3Dd%23e%2520f"'
    assert link in hostile("GET", "/", params={"q": "wing"}).text


def test_version_says_what_is_live(ask: Ask, cranfield: Collection) -> None:
    answer = ask("GET", "/v1/version").json()
    assert answer["version"] == "000002"
    assert answer["documents"] == 1400
    assert answer["stages"] == ["lexical", "dense", "fused", "ranked"]
    assert answer["created_at"] == cranfield.version.manifest.created_at
    assert set(answer["fingerprints"]) == {"analysis", "encoder", "features", "ranker"}
    assert isinstance(answer["labels"], list)
    assert answer["troubles"] == []


def test_readyz_names_the_version_and_what_keeps_another_back(cranfield: Collection) -> None:
    live = Live(cranfield)
    transport = httpx.ASGITransport(create_app(live))

    async def ask() -> dict[str, Any]:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer: dict[str, Any] = (await client.get("/readyz")).json()
            return answer

    ready = {"status": "ready", "version": "000002"}
    assert asyncio.run(ask()) == ready | {"troubles": []}
    live.report("version", "version 000003 is damaged")
    assert asyncio.run(ask()) == ready | {"troubles": ["version 000003 is damaged"]}
    live.report("version", None)
    assert asyncio.run(ask()) == ready | {"troubles": []}


def test_healthz_answers(ask: Ask) -> None:
    answer = ask("GET", "/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "url", ["/", "/?q=wing", "/v1/search?q=wing", "/v1/search", "/nope", "/static/page.js"]
)
def test_every_answer_has_the_security_headers(ask: Ask, url: str) -> None:
    headers = ask("GET", url).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_the_icon_that_browsers_ask_for_beside_json_is_there(ask: Ask) -> None:
    assert ask("GET", "/favicon.ico").status_code in (200, 204, 301, 302, 307, 308)


@pytest.mark.parametrize("url", ["/nope", "/v1/nope", "/static/nope.css", "/static/..%2Fapp.py"])
def test_an_unknown_path_is_a_problem(ask: Ask, url: str) -> None:
    problem(ask("GET", url), 404)


def test_another_method_is_refused_with_those_allowed(ask: Ask) -> None:
    answer = ask("DELETE", "/v1/version")
    problem(answer, 405)
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("url", ["/", "/healthz", "/v1/version", "/static/page.css"])
def test_head_is_get_without_the_body(ask: Ask, url: str) -> None:
    got, head = ask("GET", url), ask("HEAD", url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


def test_a_bug_of_ours_is_a_problem_that_tells_no_secret(cranfield: Collection) -> None:
    def ask(*args: object, **more: object) -> None:
        raise ZeroDivisionError("secret")

    about = {name: getattr(cranfield, name) for name in ("config", "folder", "journal", "version")}
    broken = SimpleNamespace(**about, ask=ask)
    answer = asker(broken)("GET", "/v1/search?q=wing")
    assert "secret" not in answer.text
    problem(answer, 500)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_escapes_queries_and_documents(hostile: Ask) -> None:
    query = '"><script>alert("wing")</script>'
    for url in ("/", "/v1/nowhere<script>"):
        text = hostile("GET", url, params={"q": query, "filter": '{"by": {"exists": true}}'}).text
        assert "<script>alert" not in text
        assert "<img src=x" not in text
    page = hostile("GET", "/", params={"q": query}).text
    assert "&lt;<mark>script</mark>&gt;" in page
    assert page.count("<script") == 1
    assert 'value="&#34;&gt;&lt;script&gt;' in page


def test_a_bad_filter_is_escaped_in_the_page(hostile: Ask) -> None:
    answer = hostile("GET", "/", params={"q": "wing", "filter": '{"<script>": 1}'})
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert "<script>" not in answer.text.replace(
        '<script src="/static/page.js" defer></script>', ""
    )


def test_the_page_without_a_query_says_what_to_do(ask: Ask) -> None:
    answer = ask("GET", "/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "Search 1,400 documents" in answer.text
    assert "Type a question" in answer.text
    assert "autofocus" in answer.text


def test_the_page_without_results_says_so(ask: Ask) -> None:
    for params in ({"q": "!!!"}, {"q": "wing", "filter": '{"author": "nobody"}'}):
        answer = ask("GET", "/", params=params)
        assert answer.status_code == 200
        assert "No document matches" in answer.text
        assert "<article data-doc-id" not in answer.text


def test_the_page_shows_the_best_ten_with_their_marks(ask: Ask, cranfield: Collection) -> None:
    page = ask("GET", "/", params={"q": QUERY}).text
    assert page.count("<article data-doc-id") == 10
    for hit in cranfield.search(QUERY).hits:
        assert hit.snippet in page


def test_a_field_links_to_the_search_filtered_by_it(ask: Ask) -> None:
    page = ask("GET", "/", params={"q": "shear flow past a flat plate"})
    link = "filter=%7B%22author%22%3A%22ting-yili%22%7D"
    assert link in page.text
    filtered = ask("GET", f"/?q=flow&{link}").text
    assert "author: ting-yili" in filtered
    assert "show all" in filtered


@pytest.fixture
def changing(collection_of: Callable[..., Path]) -> Iterator[Ask]:
    """An application over two documents that a test may change."""
    lines = ('{"_id": "car", "text": "a red car"}', '{"_id": "a/b", "text": "a blue boat"}')
    with rankwell.open(collection_of(*lines)) as collection:
        yield asker(collection)


def found(ask: Ask, query: str) -> list[str]:
    return [hit["doc_id"] for hit in ask("GET", "/v1/search", params={"q": query}).json()["hits"]]


def test_a_document_that_was_put_is_found_and_one_that_was_deleted_is_not(changing: Ask) -> None:
    body = {"title": "Tram", "text": "a yellow tram", "metadata": {"year": 1904, "by": None}}
    answer = changing("PUT", "/v1/documents/tram", json=body)
    assert (answer.status_code, answer.json()) == (200, {"doc_id": "tram", "number": 1})
    assert found(changing, "yellow tram")[0] == "tram"
    assert changing("GET", "/v1/documents/tram").json() == {
        "doc_id": "tram",
        "title": "Tram",
        "text": "a yellow tram",
        "fields": {"year": 1904},
    }
    assert changing("PUT", "/v1/documents/a/b", json={"text": "a yacht"}).json()["number"] == 2
    assert found(changing, "yacht")[0] == "a/b"
    assert changing("GET", "/v1/documents/a/b").json()["text"] == "a yacht"
    answer = changing("DELETE", "/v1/documents/tram")
    assert (answer.status_code, answer.json()) == (200, {"doc_id": "tram", "number": 3})
    assert "tram" not in found(changing, "yellow tram")
    problem(changing("GET", "/v1/documents/tram"), 404)
    problem(changing("DELETE", "/v1/documents/tram"), 404)
    problem(changing("DELETE", "/v1/documents/nobody"), 404)


@pytest.mark.parametrize(
    ("content", "field", "says"),
    [
        ("{}", "text", "required"),
        ('{"text": 5}', "text", "string"),
        ('{"text": "x", "metadata": []}', "metadata", "dictionary"),
        ('{"text": "x", "txet": "y"}', "txet", "not permitted"),
        ('{"text": "x", "metadata": {"n": 123456789012345678901234567890}}', "doc_id", "64-bit"),
        ('{"text": "\\ud800"}', "doc_id", "surrogates"),
        ("{", None, "not JSON"),
    ],
)
def test_a_body_that_is_no_document_is_refused_with_the_field_at_fault(
    changing: Ask, content: str, field: str | None, says: str
) -> None:
    found = problem(
        changing("PUT", "/v1/documents/tram", content=content.encode(), headers=JSON), 400
    )
    assert found.get("field") == field
    assert says in found["detail"]
    problem(changing("GET", "/v1/documents/tram"), 404)


def test_a_document_without_an_id_is_refused(changing: Ask) -> None:
    found = problem(changing("PUT", "/v1/documents/%20", json={"text": "x"}), 400)
    assert found["field"] == "doc_id"
    assert "expected a string that is not empty" in found["detail"]


def test_a_journal_that_cannot_be_written_answers_503_and_changes_nothing(
    changing: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    answer = changing("PUT", "/v1/documents/tram", json={"text": "a tram"})
    assert "No space left on device" in problem(answer, 503)["detail"]
    problem(changing("GET", "/v1/documents/tram"), 404)


def test_neighbours_of_a_word_are_those_of_the_collection(ask: Ask, cranfield: Collection) -> None:
    answer = ask("GET", "/v1/words/Supersonic/neighbours", params={"k": 3}).json()
    assert answer["word"] == "Supersonic"
    assert [(n["word"], n["similarity"]) for n in answer["neighbours"]] == [
        (n.word, pytest.approx(n.similarity)) for n in cranfield.neighbours("supersonic", 3)
    ]
    assert len(ask("GET", "/v1/words/supersonic/neighbours").json()["neighbours"]) == 10


def test_a_word_without_a_vector_is_404_with_near_spellings(ask: Ask) -> None:
    found = problem(ask("GET", "/v1/words/supersnic/neighbours"), 404)
    assert found["detail"] == "'supersnic' has no vector; did you mean 'supersonic'?"


@pytest.mark.parametrize("k", ["0", "1001", "x"])
def test_neighbours_out_of_range_are_refused(ask: Ask, k: str) -> None:
    answer = ask("GET", "/v1/words/supersonic/neighbours", params={"k": k})
    assert problem(answer, 400)["field"] == "k"


def test_the_page_shows_the_words_used_alike(ask: Ask, cranfield: Collection) -> None:
    page = ask("GET", "/", params={"q": "the supersonic wing"}).text
    words = page[page.index("Words used alike") : page.index("<figure")]
    assert re.findall("<dt>(.+?)</dt>", words) == ["supersonic", "wing"]  # and no stop word
    near = cranfield.neighbours("wing", 6)
    assert re.findall(r">(\S+)</a>", words)[6:] == [n.word for n in near]
    assert f'href="/?q=the+supersonic+wing+{near[0].word}"' in words
    filtered = ask("GET", "/", params={"q": "wing", "filter": json.dumps(AUTHOR)}).text
    assert "wing+" + near[0].word + "&amp;filter=%7B" in filtered
    assert "Words used alike" not in ask("GET", "/", params={"q": "of the zzzzzz"}).text
