import json
import multiprocessing
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from rankwell.data.errors import Unavailable
from rankwell.data.impressions import Impression, read_impressions
from rankwell.ranker.collection import Collection
from rankwell.serving.clicks import ClickLog
from rankwell.serving.served import Served, ServedLog
from rankwell.serving.service import Service

Ask = Callable[..., httpx.Response]
PAGE = Served("red car", ("a", "b", "c"), "000002:ranked")


def event(event_id: str, kind: str = "impression", **more: Any) -> dict[str, Any]:
    whole = {"query_id": "q1", "query": "red car", "policy": "000002:ranked", "shown": ["a", "b"]}
    return {"id": event_id, "type": kind, "at": 1000.0, **whole, **more}


def today(folder: Path) -> Path:
    return folder / "clicks" / f"{datetime.now(UTC).date().isoformat()}.jsonl"


def test_an_answer_is_found_by_its_query_id_also_by_another_process(tmp_path: Path) -> None:
    log = ServedLog(tmp_path)
    query_ids = [log.add(PAGE), log.add(Served("ünïcode", (), "000003:fused"))]
    log.close()
    other = ServedLog(tmp_path)
    assert other.find(query_ids[0]) == PAGE
    assert other.find(query_ids[1]) == Served("ünïcode", (), "000003:fused")
    # after a restart the same file goes on
    third = other.add(PAGE)
    assert (log.find(third), log.find(query_ids[0])) == (PAGE, PAGE)
    other.close()


def test_an_id_that_was_made_up_finds_nothing(tmp_path: Path) -> None:
    log = ServedLog(tmp_path)
    query_id = log.add(PAGE)
    other = query_id[:-3] + ("A" if query_id[-3] != "A" else "B") + query_id[-2:]
    for wrong in (other, query_id[:-2], "", "x", "../../etc/passwd", "é", "A" * 34, "=" * 5):
        assert log.find(wrong) is None
    log.close()


def test_an_answer_that_cannot_be_noted_is_an_answer_all_the_same(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("rankwell.serving.served.os.write", full)
        answer = ask("GET", "/v1/search", params={"q": "wing", "k": 3})
    assert (answer.status_code, len(answer.json()["hits"])) == (200, 3)
    assert answer.json()["query_id"] is None


def test_answers_are_forgotten_after_their_hours(tmp_path: Path) -> None:
    log = ServedLog(tmp_path, keep_hours=1)
    query_id = log.add(PAGE)
    [path] = (tmp_path / "served").iterdir()
    hour, process = path.stem.split("-")
    old = path.with_name(f"{int(hour) - 2}-{process}.jsonl")
    old.write_bytes(path.read_bytes())
    log.prune()
    assert not old.exists()
    assert log.find(query_id) == PAGE
    log.close()


def test_events_come_back_as_impressions(tmp_path: Path) -> None:
    log = ClickLog(tmp_path, 90)
    first = [event("1"), event("2", "click", doc_id="b", at=999.0)]
    assert log.append(first) == 2
    assert log.append([*first, event("3", "judgment", doc_id="a", relevance=0)]) == 1
    assert ClickLog(tmp_path, 90).append(first) == 0  # after a restart as well
    assert list(read_impressions(tmp_path)) == [
        Impression("q1", "red car", ("a", "b"), ("b",), 999.0, "000002:ranked", {"a": 0})
    ]


def test_what_another_process_wrote_is_known(tmp_path: Path) -> None:
    one, other = ClickLog(tmp_path, 90), ClickLog(tmp_path, 90)
    assert [one.append([event("1")]), other.append([event("1")])] == [1, 0]
    assert [other.append([event("2")]), one.append([event("2")])] == [1, 0]
    assert len(today(tmp_path).read_text().splitlines()) == 2


def _write(folder: Path, start: int) -> None:
    log = ClickLog(folder, 90)
    for number in range(start, start + 30):
        log.append([event(str(number))])


def test_processes_that_write_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write, args=(tmp_path, i * 20)) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = today(tmp_path).read_text().splitlines()
    assert sorted(int(json.loads(line)["id"]) for line in lines) == list(range(70))


def test_what_a_crash_cut_off_is_written_over(tmp_path: Path) -> None:
    ClickLog(tmp_path, 90).append([event("1")])
    with today(tmp_path).open("ab") as file:
        file.write(b'{"id": "2", "type": "click"')
    assert [i.query_id for i in read_impressions(tmp_path)] == ["q1"]
    log = ClickLog(tmp_path, 90)
    assert log.append([event("2", query_id="q2")]) == 1
    assert [i.query_id for i in read_impressions(tmp_path)] == ["q1", "q2"]


def test_events_that_cannot_be_made_durable_are_refused_and_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ClickLog(tmp_path, 90)
    log.append([event("1")])
    before = today(tmp_path).read_bytes()
    with monkeypatch.context() as patch:

        def fail(handle: int) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "fsync", fail)
        with pytest.raises(Unavailable, match="No space left on device"):
            log.append([event("2")])
    assert today(tmp_path).read_bytes() == before
    assert log.append([event("2")]) == 1


def test_old_days_are_deleted(tmp_path: Path) -> None:
    log = ClickLog(tmp_path, 3)
    log.append([event("1")])
    day = datetime.now(UTC).date()
    old, young = (today(tmp_path).with_stem(str(day - timedelta(days=n))) for n in (4, 3))
    for path in (old, young):
        path.write_bytes(today(tmp_path).read_bytes())
    log.prune()
    assert (old.exists(), young.exists(), today(tmp_path).exists()) == (False, True, True)


@pytest.fixture
def ask(asking: Callable[..., Ask], cranfield: Collection, tmp_path: Path) -> Ask:
    return asking(cranfield, Service(clicks=ClickLog(tmp_path, 90)))


def test_clicks_are_joined_to_the_query_that_showed_them(ask: Ask, tmp_path: Path) -> None:
    answer = ask("GET", "/v1/search", params={"q": "supersonic wing", "k": 3}).json()
    shown, query_id = [hit["doc_id"] for hit in answer["hits"]], answer["query_id"]
    events = [
        {"id": "1", "type": "impression", "query_id": query_id},
        {"id": "2", "type": "click", "query_id": query_id, "doc_id": shown[2]},
        {"id": "3", "type": "judgment", "query_id": query_id, "doc_id": shown[0], "relevance": 1},
        {"id": "4", "type": "click", "query_id": query_id, "doc_id": "not shown"},
        {"id": "5", "type": "click", "query_id": "made-up", "doc_id": shown[0]},
        {"id": "6", "type": "click", "query_id": query_id},
        {"id": "7", "type": "click", "query_id": query_id, "doc_id": shown[0], "relevance": 1},
    ]
    found = ask("POST", "/v1/clicks", json={"events": events}).json()
    assert (found["accepted"], found["duplicates"]) == (3, 0)
    assert [(r["index"], r["id"]) for r in found["rejected"]] == [
        (3, "4"),
        (4, "5"),
        (5, "6"),
        (6, "7"),
    ]
    again = ask("POST", "/v1/clicks", json={"events": events[:3]}).json()
    assert (again["accepted"], again["duplicates"], again["rejected"]) == (0, 3, [])
    [page] = read_impressions(tmp_path)
    assert (page.query, page.shown, page.clicked, page.policy, page.judged) == (
        "supersonic wing",
        tuple(shown),
        (shown[2],),
        "000002:ranked",
        {shown[0]: 1},
    )
    kept = today(tmp_path).read_text()
    assert "127.0.0.1" not in kept
    assert "testclient" not in kept


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "events"),
        ({"events": []}, "events"),
        ({"events": [{"id": "1", "type": "look", "query_id": "x"}]}, "events.0.type"),
        ({"events": [{"id": "", "type": "click", "query_id": "x"}]}, "events.0.id"),
        ({"events": [{"id": "1", "type": "click", "query_id": "x", "ip": "x"}]}, "events.0.ip"),
    ],
)
def test_a_bad_batch_names_its_field(ask: Ask, body: dict[str, Any], field: str) -> None:
    answer = ask("POST", "/v1/clicks", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


def test_a_service_that_keeps_no_clicks_says_so(
    asking: Callable[..., Ask], cranfield: Collection
) -> None:
    ask = asking(cranfield)
    assert ask("GET", "/v1/search?q=wing").json()["query_id"] is None
    body = {"events": [{"id": "1", "type": "impression", "query_id": "x"}]}
    answer = ask("POST", "/v1/clicks", json=body)
    assert answer.status_code == 404
    assert "keep_clicks_days" in answer.json()["detail"]
