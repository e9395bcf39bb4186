import asyncio
import threading

import pytest

from rankwell.data.errors import Abandoned, InputError
from rankwell.data.records import SearchResult
from rankwell.ranker.asking import Asked
from rankwell.ranker.collection import Collection
from rankwell.serving.exchange import Exchange, begin_exchange
from rankwell.serving.hurry import answer_in_time

ASKED = Asked(query="supersonic wing")


def in_exchange(collection: Collection, asked: Asked, **facts: object) -> SearchResult:
    """Answers in a request of its own of which something is known."""

    async def answer() -> SearchResult:
        exchange: Exchange = begin_exchange()
        for name, value in facts.items():
            setattr(exchange, name, value)
        return await asyncio.to_thread(answer_in_time, collection, asked)

    return asyncio.run(answer())


def test_outside_of_a_request_nothing_is_left_out(cranfield: Collection) -> None:
    wanted = [hit.doc_id for hit in cranfield.ask(ASKED).hits]
    assert [hit.doc_id for hit in answer_in_time(cranfield, ASKED).hits] == wanted


def test_a_request_that_waited_long_ends_with_the_fused_order(cranfield: Collection) -> None:
    found = in_exchange(cranfield, ASKED, hurried=True)
    fused = cranfield.search("supersonic wing", stage="fused")
    assert [hit.doc_id for hit in found.hits] == [hit.doc_id for hit in fused.hits]
    assert found.degraded == ("ranked was skipped: too much is asked at a time",)


def test_a_stage_that_was_asked_for_is_given(cranfield: Collection) -> None:
    asked = Asked(query="supersonic wing", stage="ranked")
    assert in_exchange(cranfield, asked, hurried=True).degraded == ()


def test_the_wait_counts_for_the_deadline(cranfield: Collection) -> None:
    asked = Asked(query="supersonic wing", deadline_ms=10_000)
    assert in_exchange(cranfield, asked).degraded == ()
    late = in_exchange(cranfield, asked, waited_ms=10_000.0)
    assert "missed the deadline" in " ".join(late.degraded)
    with pytest.raises(InputError, match="deadline_ms"):
        in_exchange(cranfield, Asked(query="x", deadline_ms=-1.0), waited_ms=5.0)


def test_a_search_stops_when_nobody_waits_for_it(cranfield: Collection) -> None:
    with pytest.raises(Abandoned, match=r"before the stage (lexical|dense)"):
        in_exchange(cranfield, ASKED, gone=True)
    seen = threading.Event()

    def stopped() -> bool:
        before = seen.is_set()
        seen.set()
        return before

    with pytest.raises(Abandoned, match=r"before the stage (lexical|dense)"):
        cranfield.ask(Asked(query="supersonic wing", stopped=stopped))
