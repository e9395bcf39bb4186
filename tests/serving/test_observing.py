import json
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rankwell.data.service import ServingConfig
from rankwell.ranker.collection import Collection
from rankwell.serving.logs import logged
from rankwell.serving.metrics import Metrics
from rankwell.serving.service import Service
from rankwell.serving.tracing import Tracer

Ask = Callable[..., httpx.Response]
Asking = Callable[..., Ask]
QUERY = "supersonic wing"


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Gives what reads the log so far."""
    with logged():
        yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_request_is_one_line_of_json_without_its_text(
    asking: Asking, cranfield: Collection, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    ask = asking(cranfield)
    answer = ask("GET", "/v1/search", params={"q": QUERY}, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    [line] = lines()
    assert (
        line.items()
        >= {
            "level": "info",
            "event": "request",
            "request_id": "mine-1",
            "method": "GET",
            "route": "/v1/search",
            "status": 200,
            "version": "000002",
            "hits": 10,
            "degraded": [],
            "key": None,
        }.items()
    )
    assert list(line["stages_ms"])[:4] == ["query", "lexical", "dense", "fused"]
    assert QUERY not in json.dumps(line)
    assert ask("GET", "/v1/documents/2").status_code == 200
    [line] = lines()
    assert line["route"] == "/v1/documents/{doc_id:path}"
    assert ask("GET", "/nowhere/supersonic").status_code == 404
    [line] = lines()
    assert "supersonic" not in json.dumps(line)


def test_queries_are_logged_where_that_is_asked_for(
    asking: Asking, cranfield: Collection, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    ask = asking(cranfield, Service(config=ServingConfig(log_queries=True)))
    ask("GET", "/v1/search", params={"q": QUERY})
    [line] = lines()
    assert line["query"] == QUERY


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "é"])
def test_a_request_id_that_is_none_is_replaced(
    asking: Asking, cranfield: Collection, given: str
) -> None:
    headers = {"X-Request-Id": given.encode()}
    answer = asking(cranfield)("GET", "/v1/documents/nowhere", headers=headers)
    request_id = answer.headers["x-request-id"]
    assert len(request_id) == 16
    assert answer.json()["request_id"] == request_id


def test_a_bug_is_logged_with_its_place_and_without_what_it_says(
    asking: Asking, cranfield: Collection, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    def ask_collection(*_: object) -> None:
        raise ZeroDivisionError("the text of a document")

    broken = SimpleNamespace(
        config=cranfield.config,
        folder=cranfield.folder,
        version=cranfield.version,
        journal=cranfield.journal,
        stage_names=(),
        ask=ask_collection,
    )
    answer = asking(broken)("GET", "/v1/search?q=wing")
    assert answer.status_code == 500
    bug, request = lines()
    assert (bug["level"], bug["error"]) == ("error", "ZeroDivisionError")
    assert bug["request_id"] == request["request_id"] == answer.json()["request_id"]
    assert any("ask_collection" in place for place in bug["trace"])
    assert "text of a document" not in json.dumps(bug)


def test_metrics_count_requests_stages_and_refusals(asking: Asking, cranfield: Collection) -> None:
    metrics = Metrics()
    metrics.serving("000002", 1400, 0.99)
    ask = asking(cranfield, Service(metrics=metrics))
    for query in ("wing", "flow"):
        ask("GET", "/v1/search", params={"q": query})
    ask("GET", "/v1/search")
    metrics.refused("queue")
    text = ask("GET", "/metrics").text
    counted = 'rankwell_requests_total{method="GET",route="/v1/search",status='
    assert f'{counted}"200"}} 2.0' in text
    assert f'{counted}"400"}} 1.0' in text
    assert 'rankwell_stage_seconds_count{stage="ranked"} 2.0' in text
    assert 'rankwell_stage_candidates_sum{stage="ranked"} 400.0' in text
    assert 'rankwell_refused_total{reason="queue"} 1.0' in text
    assert "rankwell_version 2.0" in text
    assert "rankwell_documents 1400.0" in text
    assert "rankwell_ann_recall 0.99" in text


def test_a_search_is_a_trace_with_its_stages(asking: Asking, cranfield: Collection) -> None:
    spans = InMemorySpanExporter()
    tracer = Tracer(SimpleSpanProcessor(spans))
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {"traceparent": f"00-{trace_id}-{parent_id}-01"}
    ask = asking(cranfield, Service(tracer=tracer))
    ask("GET", "/v1/search", params={"q": QUERY}, headers=headers)
    *stages, request = spans.get_finished_spans()
    tracer.close()
    assert request.name == "GET /v1/search"
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert f"{request.context.trace_id:032x}" == trace_id
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == parent_id
    assert [span.name for span in stages][:2] == ["stage query", "stage lexical"]
    assert {span.parent.span_id for span in stages if span.parent} == {request.context.span_id}
    ends = [span.end_time or 0 for span in stages]
    assert ends == sorted(ends)
    assert QUERY not in str([span.attributes for span in (*stages, request)])


def test_without_anybody_listening_nothing_is_logged(
    asking: Asking, cranfield: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        asking(cranfield)("GET", "/v1/search", params={"q": QUERY})
    assert caplog.records == []
