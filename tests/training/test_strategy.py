import numpy as np
import pytest
from factor_task import FactorTask

from rankwell.data.errors import InputError
from rankwell.training.strategy import Strategy, train


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"name": "asynchron"}, "'asynchron' is not a strategy; did you mean 'asynchronous'?"),
        ({"workers": 0}, "workers is 0; at least 1 must train"),
        ({"workers": -2}, "workers is -2; at least 1 must train"),
        ({"workers": 2}, "strategy single has one worker, not 2"),
        ({"servers": 1}, "servers belong to the other strategies"),
        ({"name": "asynchronous", "servers": -1}, "servers is -1; it cannot be negative"),
        ({"name": "asynchronous", "staleness": -1}, "staleness is -1; it cannot be negative"),
        ({"name": "asynchronous", "backups": 1}, "backups belong to strategy synchronous"),
        ({"name": "hybrid", "workers": 3}, "3 workers do not form 2 groups of equal size"),
        ({"name": "hybrid", "workers": 2, "groups": 0}, "2 workers do not form 0 groups"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        Strategy(**settings)  # type: ignore[arg-type]
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", ["synchronous", "asynchronous", "hybrid"])
def test_more_workers_than_parts_of_the_work_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"4 workers are more than the 3 parts .* at most 3"):
        train(FactorTask(num_steps=3), Strategy(name=name, workers=4))  # type: ignore[arg-type]


def test_no_work_gives_the_tables_as_they_start() -> None:
    trained = train(FactorTask(num_steps=0), Strategy(name="synchronous", workers=2))
    np.testing.assert_array_equal(trained.tables["left"], FactorTask().start()["left"])
    assert trained.report.curve == []
