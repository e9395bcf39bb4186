"""The recall in service: in the metrics, in the log, and where `status` reads it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import rankwell
from rankwell.data.config import VectorsConfig
from rankwell.indexer.dense.engine import FaissEngine
from rankwell.indexer.dense.watching import InService, Measured
from rankwell.serving import recall
from rankwell.serving.following import Live
from rankwell.serving.metrics import Metrics
from rankwell.serving.recall import RecallTeller


def test_the_recall_is_told_when_it_says_something(
    collection_of: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = (json.dumps({"_id": f"{i}", "text": f"wing number n{i}"}) for i in range(3))
    folder = collection_of(*lines, vectors=VectorsConfig(index="IVF1,SQ8"))
    metrics = Metrics()
    metrics.serving("000001", 3, 0.99)

    def found(measured: Measured) -> str:
        monkeypatch.setattr(FaissEngine, "measured", measured)
        teller.tell()
        return metrics.text().decode()

    with Live(rankwell.open(folder)) as live:
        teller = RecallTeller(live, metrics, folder)
        text = found(Measured(0.5, 3, 0.95))
        assert "rankwell_ann_recall 0.99\n" in text  # of the release: three checks say nothing
        assert 'rankwell_recall_checks_total{outcome="done"} 3.0' in text
        text = found(Measured(0.8, 60, 0.95, 2, "MemoryError: "))
        assert "rankwell_ann_recall 0.8\n" in text
        assert 'rankwell_recall_checks_total{outcome="done"} 60.0' in text
        assert 'rankwell_recall_checks_total{outcome="failed"} 2.0' in text
        assert live.troubles[0].startswith("the vector index finds 80.0% of the true best ten")
        kept = InService.load(folder, "000001")
        assert kept is not None
        assert (kept.recall, kept.num_checked, kept.trouble) == (0.8, 60, live.troubles[0])
        found(Measured(0.81, 70, 0.95, 2))
        assert InService.load(folder, "000001") == kept  # not yet a minute old
        monkeypatch.setattr(recall, "_KEPT_SECONDS", 0.0)
        found(Measured(0.82, 80, 0.95, 2))
        kept = InService.load(folder, "000001")
        assert kept is not None
        assert kept.num_checked == 80
        assert 'outcome="done"} 85.0' in found(Measured(0.82, 5, 0.95))  # opened anew
        assert capsys.readouterr().err.count("the vector index finds") == 1


def test_where_nothing_is_measured_or_written_searches_go_on(
    collection_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = collection_of('{"_id": "a", "text": "wing"}')
    with Live(rankwell.open(folder)) as live:
        teller = RecallTeller(live, Metrics(), folder)
        teller.tell()  # an exact index
        assert InService.load(folder, "000001") is None

        def refuse(*_: object) -> None:
            raise PermissionError("read only")

        monkeypatch.setattr(InService, "save", refuse)
        monkeypatch.setattr(FaissEngine, "measured", Measured(0.8, 60, 0.95))
        teller.tell()
    assert InService.load(folder, "000001") is None
