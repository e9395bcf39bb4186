"""Whatever is sent, the answer is no 5xx, no trace, and comes."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

import rankwell
from rankwell.serving.app import create_app
from rankwell.serving.clicks import ClickLog
from rankwell.serving.following import Live
from rankwell.serving.service import Service

QUIET = settings(
    max_examples=8,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
PATHS = st.one_of(
    st.sampled_from(["/", "/v1/search", "/v1/clicks", "/v1/rerank", "/v1/embeddings", "/docs"]),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["/v1/documents/", "/v1/words/", "/documents/", "/static/"]),
        st.sampled_from(["..%2f..%2fetc%2fpasswd", "%00", "%ff", "%E2%80%AE", "a/b", "car"]),
        st.sampled_from(["", "/similar", "/neighbours", "/../car"]),
    ),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = """query q k filter facets sort cursor stage version events input documents deadline_ms
    collapse explain total text metadata title"""
KEYS = st.sampled_from(FIELDS.split())
BODIES = st.one_of(
    st.binary(max_size=40),
    st.dictionaries(KEYS, VALUES, max_size=5).map(lambda body: json.dumps(body).encode()),
)
NAMES = """authorization if-none-match x-request-id accept-encoding origin content-type traceparent
    cookie expect"""
HEADERS = st.dictionaries(
    st.sampled_from(NAMES.split()),
    st.binary(max_size=20).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"").strip()),
    max_size=3,
)


@pytest.fixture(scope="module")
def application(two_versions_built: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    clicks = ClickLog(tmp_path_factory.mktemp("clicks"), 90)
    with rankwell.open(two_versions_built) as collection:
        yield create_app(Live(collection), Service(clicks=clicks))
    clicks.close()


def sound(answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-request-id"]
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        assert answer.headers["content-type"].startswith(("application/problem+json", "text/html"))


def test_whatever_is_sent_is_answered(application: Any) -> None:
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)

    async def send(*requests: tuple[str, str, bytes, dict[str, bytes]]) -> None:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            for method, path, content, headers in requests:
                raw = [(name.encode(), value) for name, value in headers.items()]
                request = client.build_request(method, path, content=content, headers=raw)
                async with asyncio.timeout(20):
                    sound(await client.send(request))

    @settings(QUIET, max_examples=80)
    @given(METHODS, PATHS, BODIES, HEADERS)
    def fuzz(method: str, path: str, content: bytes, headers: dict[str, bytes]) -> None:
        asyncio.run(send((method, path, content, headers)))

    fuzz()

    @settings(QUIET, max_examples=40)
    @given(st.sampled_from(["/v1/search", "/v1/rerank", "/v1/embeddings", "/v1/clicks"]), BODIES)
    def fuzz_json(path: str, content: bytes) -> None:
        asyncio.run(send(("POST", path, content, {"content-type": b"application/json"})))

    fuzz_json()

    @settings(QUIET, max_examples=40)
    @given(st.dictionaries(KEYS | st.just("part") | st.just("other"), st.text(max_size=30)))
    def fuzz_queries(parameters: dict[str, str]) -> None:
        encoded = str(httpx.QueryParams(parameters))
        for path in ("/", "/v1/search", "/v1/complete", "/v1/documents/1/similar"):
            asyncio.run(send(("GET", f"{path}?{encoded}", b"", {})))

    fuzz_queries()


def test_the_openapi_document_is_true(application: Any) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", application)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance]
    seen: set[str] = set()
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(QUIET)
        @given(operation.as_strategy())
        def conforms(case: Any) -> None:
            case.call_and_validate(checks=checks)

        conforms()
        seen.add(operation.label)
    assert {"GET /v1/search", "POST /v1/search", "POST /v1/clicks", "POST /v1/rerank"} <= seen


HUGE = "x" * 1_000_000


@pytest.mark.parametrize(
    ("content", "statuses"),
    [
        (json.dumps({"query": HUGE}), {400}),
        (json.dumps({"query": "wing", "k": -(10**30)}), {400}),
        (json.dumps({"query": "\u202e wing \u0301\u0327 \x00\x1b[31m", "k": 1}), {200}),
        (json.dumps({"query": "<script>alert(1)</script> wing", "k": 1}), {200}),
        ('{"query": "wing", "k": 1' + " " * 5_000_000 + "}", {413}),
        ('{"query": "wing", "query": 5}', {400}),
        ("[" * 100_000, {400}),
        ('{"query": NaN}', {400}),
        ("\ufeff{}", {400}),
    ],
)
def test_a_bad_search_is_refused_and_an_odd_one_answered(
    application: Any, content: str, statuses: set[int]
) -> None:
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            headers = {"content-type": "application/json"}
            return await client.post("/v1/search", content=content.encode(), headers=headers)

    answer = asyncio.run(send())
    sound(answer)
    assert answer.status_code in statuses
    assert "<script>" not in answer.text or answer.headers["content-type"] == "application/json"
