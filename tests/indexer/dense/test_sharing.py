import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rankwell.data.errors import Unavailable
from rankwell.indexer.dense.sharing import SharedGpu


class Near:
    """Says that the nearest vectors are those whose numbers follow the query's first value."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def search(self, queries_QD: NDArray[np.float32], k: int) -> Any:
        self.batches.append(len(queries_QD))
        if (queries_QD < 0).any():
            raise RuntimeError("out of memory")
        first_Q1 = queries_QD[:, :1].astype(np.int64)
        return np.zeros((len(queries_QD), k)), first_Q1 + np.arange(k)


def query(value: float) -> NDArray[np.float32]:
    return np.array([value, 1.0], np.float32)


@pytest.fixture
def folder() -> Path:
    """A folder with a short name."""
    return Path(tempfile.gettempdir())


OWNER = """
    import sys, tempfile, time
    from pathlib import Path
    tempfile.tempdir = sys.argv[1]
    sys.path.insert(0, sys.argv[2])
    from rankwell.indexer.dense.sharing import SharedGpu
    from test_sharing import Near
    shared = SharedGpu(Path(sys.argv[1]), Near)
    print(shared.is_owner, flush=True)
    time.sleep(60)
"""


def start_owner(folder: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(OWNER),
        str(folder),
        str(Path(__file__).parent),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_the_first_to_open_owns_the_gpu_and_serves_the_next(folder: Path) -> None:
    index = Near()
    owner = SharedGpu(folder, lambda: index)
    other = SharedGpu(folder, Near)
    assert (owner.is_owner, other.is_owner) == (True, False)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: other.search(query(n), 3).tolist(), range(40)))
    assert found == [[n, n + 1, n + 2] for n in range(40)]
    assert owner.search(query(7), 2).tolist() == [7, 8]
    assert sum(index.batches) == 41
    other.close()
    owner.close()


def test_when_the_owner_closes_another_takes_over(folder: Path) -> None:
    owner, other = SharedGpu(folder, Near), SharedGpu(folder, Near)
    assert other.search(query(1), 1).tolist() == [1]
    owner.close()
    assert other.search(query(2), 1).tolist() == [2]
    assert other.is_owner
    other.close()


def test_when_the_owners_process_is_killed_another_takes_over(folder: Path) -> None:
    with start_owner(folder) as process:
        shared = SharedGpu(folder, Near)
        assert not shared.is_owner
        assert shared.search(query(5), 2).tolist() == [5, 6]
        process.send_signal(signal.SIGKILL)
    assert shared.search(query(6), 2).tolist() == [6, 7]
    assert shared.is_owner
    shared.close()


def test_each_version_has_an_owner_of_its_own(folder: Path) -> None:
    folders = [folder / name for name in "ab"]
    for each in folders:
        each.mkdir()
    both = [SharedGpu(each, Near) for each in folders]
    assert [shared.is_owner for shared in both] == [True, True]
    for shared in both:
        shared.close()


def test_a_failure_of_the_search_reaches_whoever_asked(folder: Path) -> None:
    owner, other = SharedGpu(folder, Near), SharedGpu(folder, Near)
    for shared in (owner, other):
        with pytest.raises(Unavailable, match="the search on the GPU failed: out of memory"):
            shared.search(query(-1), 1)
        assert shared.search(query(3), 1).tolist() == [3]
    other.close()
    owner.close()


def test_an_index_that_does_not_get_onto_the_gpu_leaves_no_owner(folder: Path) -> None:
    def full() -> Any:
        raise Unavailable("no memory")

    with pytest.raises(Unavailable, match="no memory"):
        SharedGpu(folder, full)
    owner = SharedGpu(folder, Near)
    assert owner.is_owner
    owner.close()


def test_who_has_closed_neither_searches_nor_becomes_the_owner(folder: Path) -> None:
    owner, other = SharedGpu(folder, Near), SharedGpu(folder, Near)
    assert other.search(query(1), 1).tolist() == [1]
    other.close()
    owner.close()
    for shared in (owner, other):
        with pytest.raises(Unavailable, match="the index on the GPU was closed"):
            shared.search(query(1), 1)
        assert not shared.is_owner
    last = SharedGpu(folder, Near)
    assert last.is_owner
    last.close()


def test_searches_that_meet_a_close_end_and_leave_no_owner(folder: Path) -> None:
    def asked(shared: SharedGpu, number: int) -> bool:
        try:
            return shared.search(query(number), 1).tolist() == [number]
        except Unavailable as error:
            return str(error) == "the index on the GPU was closed"

    for _ in range(5):
        owner, other = SharedGpu(folder, Near), SharedGpu(folder, Near)
        with ThreadPoolExecutor(8) as threads:
            found = [
                threads.submit(asked, shared, number)
                for number in range(40)
                for shared in (owner, other)
            ]
            other.close()
            owner.close()
            assert all(each.result(30) for each in found)
        assert not owner.is_owner
        assert not other.is_owner


def test_a_path_that_is_too_long_for_a_socket_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = folder / ("long" * 25)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(Unavailable, match=r"is longer than 107 bytes; set TMPDIR to a folder"):
        SharedGpu(folder, Near)


def test_a_folder_that_others_can_look_into_is_not_used(folder: Path) -> None:
    (folder / f"rankwell-{os.getuid()}").mkdir(mode=0o755)
    with pytest.raises(Unavailable, match="must belong to this user alone; remove it"):
        SharedGpu(folder, Near)
