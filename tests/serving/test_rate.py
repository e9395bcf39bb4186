import multiprocessing

import pytest

from rankwell.serving.rate import RateLimiter


def test_a_burst_passes_and_then_one_a_period(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.clock_gettime", lambda _: now)
    limiter = RateLimiter(10.0, 0.3)
    assert [limiter.wait_s("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limiter.wait_s("a") == pytest.approx(0.1)
    assert limiter.wait_s("b") == 0.0
    now = 100.1
    assert limiter.wait_s("a") == 0.0
    assert limiter.wait_s("a") == pytest.approx(0.1)


def test_no_rate_is_no_limit() -> None:
    limiter = RateLimiter(0.0, 1.0)
    assert {limiter.wait_s("a") for _ in range(1000)} == {0.0}


def test_a_burst_shorter_than_a_period_still_lets_one_through() -> None:
    limiter = RateLimiter(0.1, 1.0)
    assert limiter.wait_s("a") == 0.0
    assert limiter.wait_s("a") > 9


def _ask(limiter: RateLimiter, passed: "multiprocessing.sharedctypes.Synchronized[int]") -> None:
    for _ in range(50):
        if limiter.wait_s("a") == 0.0:
            with passed.get_lock():
                passed.value += 1


def test_processes_share_one_rate() -> None:
    context = multiprocessing.get_context("fork")
    limiter, passed = RateLimiter(0.01, 6_000.0), context.Value("i", 0)
    processes = [context.Process(target=_ask, args=(limiter, passed)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert passed.value == 60
