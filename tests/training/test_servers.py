import numpy as np
from factor_task import ROWS, FactorTask

from rankwell.training import single
from rankwell.training.exchange import Changes
from rankwell.training.run import Run
from rankwell.training.servers import GENERATION, Server, Stepped, Worker, part
from rankwell.training.task import Tables


def change(*rows: int, by: float) -> Changes:
    return {"t": (np.array(rows), np.full((len(rows), 2), by, np.float32))}


def tables(rows: int = 6) -> Tables:
    return {"t": np.arange(rows, dtype=np.float32)[:, None].repeat(2, axis=1)}


def test_a_server_holds_every_nth_row() -> None:
    assert part(tables(), 1, 3)["t"].tolist() == [[1, 1], [4, 4]]
    server = Server(part(tables(), 1, 3), 1, 3)
    rows, values = server.pull(-1).rows["t"]
    assert rows.tolist() == [1, 4]
    assert values.tolist() == [[1, 1], [4, 4]]


def test_a_pull_brings_what_changed_since_the_last_one() -> None:
    server = Server(tables(), 0, 1)
    version = server.pull(-1).version
    assert server.push(version, change(2, 5, by=0.5)) == 0
    pulled = server.pull(version)
    rows, values = pulled.rows["t"]
    assert rows.tolist() == [2, 5]
    assert values.tolist() == [[2.5, 2.5], [5.5, 5.5]]
    assert server.pull(pulled.version).rows["t"][0].tolist() == []


def test_staleness_counts_the_pushes_since_the_pull() -> None:
    server = Server(tables(), 0, 1)
    seen = server.pull(-1).version
    assert [server.push(seen, change(0, by=1.0)) for _ in range(3)] == [0, 1, 2]


def test_changes_of_a_group_are_combined() -> None:
    server = Server(tables(3), 0, 1)
    server.push(0, change(0, 1, by=1.0), change(1, 2, by=3.0))
    # row 0: 0 + 1; row 1: 1 + the mean of 1 and 3, which have one direction; row 2: 2 + 3
    assert server.pull(-1).rows["t"][1].tolist() == [[1, 1], [3, 3], [5, 5]]


def test_a_late_change_is_combined_with_what_others_pushed_meanwhile() -> None:
    server = Server(tables(2), 0, 1)
    seen = [server.pull(-1, worker).version for worker in range(3)]
    server.push(seen[0], change(0, by=1.0))
    server.push(seen[1], change(0, 1, by=3.0))
    # row 0: together as if made at once, (1 + 3) / 2; row 1: nobody else changed it
    assert server.pull(-1).rows["t"][1].tolist() == [[2, 2], [4, 4]]
    assert server.push(seen[2], change(0, by=4.0)) == 2
    assert server.pull(-1).rows["t"][1].tolist() == [[3, 3], [4, 4]]  # (2 + 4) / 2


def test_what_everybody_has_pulled_does_not_hold_a_change_back() -> None:
    server = Server(tables(1), 0, 1)
    for worker in (0, 1, 0, 1):
        server.push(server.pull(-1, worker).version, change(0, by=1.0))
    assert server.pull(-1).rows["t"][1].tolist() == [[4, 4]]
    server.pull(-1, 0)
    server.pull(-1, 1)
    assert server._log == []  # or it would grow with the training


def test_a_restored_server_is_pulled_as_a_whole_by_whoever_knew_its_predecessor() -> None:
    old = Server(tables(), 0, 1)
    for _ in range(3):
        old.push(0, change(0, by=1.0))
    known = old.pull(-1).version
    restored = Server(tables(), 0, 1, generation=1)
    assert len(restored.pull(known).rows["t"][0]) == 6
    assert restored.push(known, change(0, by=1.0)) == 0  # nothing can be said of it
    assert restored.pull(GENERATION).rows["t"][0].tolist() == [0]


def test_one_worker_and_two_servers_train_as_one_process_but_for_rounding() -> None:
    task = FactorTask(num_steps=10)
    run = Run(task)
    start = task.start()
    servers = [Server(part(start, place, 2), place, 2) for place in range(2)]
    worker, since = Worker(task, 2), (-1, -1)
    for number in range(10):
        stepped, *changes = worker.step(
            number, *(server.pull(at, 0) for server, at in zip(servers, since, strict=True))
        )
        assert isinstance(stepped, Stepped)
        since = stepped.versions
        for server, one in zip(servers, changes, strict=True):
            assert not isinstance(one, Stepped)
            server.push(number, one)
    single.train(run)
    for name, table in run.tables.items():
        served = np.empty_like(table)
        for server in servers:
            rows, values = server.pull(-1).rows[name]
            served[rows] = values
        np.testing.assert_allclose(served, table, rtol=0, atol=1e-5)


def test_a_step_whose_changes_are_dropped_leaves_the_workers_copy_as_the_servers_have_it() -> None:
    task = FactorTask(num_steps=4)
    server, worker = Server(task.start(), 0, 1), Worker(task, 1)
    first = worker.step(0, server.pull(-1))
    again = worker.step(0, server.pull(0))  # nothing was pushed, so nothing is pulled
    assert isinstance(first[1], dict)
    assert isinstance(again[1], dict)
    for name in first[1]:
        np.testing.assert_array_equal(first[1][name][1], again[1][name][1])
        assert 0 < len(first[1][name][0]) <= ROWS
