import pytest

from rankwell.data.errors import Unavailable
from rankwell.indexer.elasticsearch.waiting import Breaker, Patience


def test_pauses_double_from_their_upper_half_and_end_with_the_time() -> None:
    patience = Patience(1000)
    for tries, longest in ((1, 0.1), (2, 0.2), (3, 0.4), (50, 10.0)):
        pauses = [patience.pause_s(tries) for _ in range(50)]
        assert all(pause is not None and longest / 2 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) > 1
    assert patience.pause_s(1, 30.0) == 30.0
    assert Patience(1000, retries=2).pause_s(3) is None
    assert Patience(0).pause_s(1) is None
    patience.end()
    assert patience.pause_s(1) is None


def test_the_breaker_opens_after_three_failures_and_lets_one_call_try() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    for _ in range(2):
        breaker.record(False)
        breaker.check()
    breaker.record(False)
    with pytest.raises(Unavailable, match=r"failed 3 times in a row; it is asked again in 1 s"):
        breaker.check()
    now[0] = 1.1
    breaker.check()  # one goes through
    with pytest.raises(Unavailable):
        breaker.check()  # the others wait for it
    breaker.record(False)
    with pytest.raises(Unavailable, match="again in 2 s") as caught:
        breaker.check()
    assert caught.value.retry_after_s == pytest.approx(2.0)
    now[0] = 3.2
    breaker.check()
    breaker.record(True)
    breaker.check()
    breaker.check()
