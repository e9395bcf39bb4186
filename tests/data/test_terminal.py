"""Results go to stdout as JSON, progress goes to stderr in bars or lines."""

import io
import json
import signal
import time

import numpy as np
import pytest
from rich.console import Console

from rankwell.data import terminal
from rankwell.data.errors import InputError
from rankwell.data.terminal import print_json, shown_progress


def test_json_is_one_line_on_stdout_and_takes_numpy_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json({"rows": np.arange(3), "score": np.float32(0.5), "query": "é\n"})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"rows": [0, 1, 2], "score": 0.5, "query": "é\n"}
    assert captured.out.count("\n") == 1
    assert captured.err == ""


def test_progress_off_a_terminal_is_a_line_on_stderr_when_a_step_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with shown_progress() as progress:
        progress("reading documents", 500, 1400)
        progress("reading documents", 1400, 1400)
        progress("counting", 7)
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["reading documents: 1,400 of 1,400"]
    assert captured.out == ""


def test_progress_on_a_terminal_is_a_bar_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "err", Console(file=screen, force_terminal=True, width=120))
    with shown_progress() as progress:
        progress("reading documents", 1400, 1400)
        progress("training words", 2, 5)
    assert "reading documents" in screen.getvalue()
    assert "1400/1400" in screen.getvalue()
    assert "2/5" in screen.getvalue()


def test_progress_for_machines_is_json_lines_with_rate_and_remaining_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 10.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    with shown_progress("json") as progress:
        progress("reading documents", 100, 1000)
        now = 14.0
        progress("reading documents", 500, 1000)
        now = 14.1
        progress("reading documents", 501, 1000)  # too soon after the line before
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        {"step": "reading documents", "done": 100, "total": 1000}
        | {"per_second": None, "remaining_s": None},
        {"step": "reading documents", "done": 500, "total": 1000}
        | {"per_second": 100.0, "remaining_s": 5.0},
    ]


def test_an_interrupt_comes_with_the_next_sign_of_progress() -> None:
    before = signal.getsignal(signal.SIGINT)
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        _interrupted_with("next sign", reached)
    assert reached == ["interrupted"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_does_not_wait_for_progress() -> None:
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        _interrupted_with("second interrupt", reached)
    assert reached == ["interrupted"]


def test_an_interrupt_does_not_wait_long_for_progress() -> None:
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        _interrupted_with("patience", reached)
    assert reached == ["interrupted"]


def _interrupted_with(what: str, reached: list[str]) -> None:
    with shown_progress("json") as progress:
        signal.raise_signal(signal.SIGINT)
        reached.append("interrupted")
        if what == "next sign":
            progress("training word vectors", 1)
        elif what == "second interrupt":
            signal.raise_signal(signal.SIGINT)
        else:
            time.sleep(60)
        reached.append("went on")


def test_an_unknown_form_of_progress_is_refused() -> None:
    with (
        pytest.raises(InputError, match="--progress is 'jsn'; did you mean 'json'"),
        shown_progress("jsn"),
    ):
        pass
