"""The journal under faults: what was answered is there, what was refused is not."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import rankwell
from rankwell.data.errors import Unavailable
from rankwell.data.journal import Journal
from rankwell.data.records import Document

COMMAND = Path(sys.executable).parent / "rankwell"
KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from rankwell.data.journal import Journal
from rankwell.data.records import Document

folder, seed = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(seed)
answered = 0
for _ in range(10):  # the journal goes on after each kill
    size = chance.choice([1, 20, 300])
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        journal = Journal(folder)
        while True:
            documents = [Document(f"{i}", "word " * 500) for i in range(size)]
            os.write(writing, b"%d\\n" % journal.put(documents))
    os.close(writing)
    with os.fdopen(reading) as answers:
        first = answers.readline()
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        numbers = [int(line) for line in (first + answers.read()).splitlines()]
    journal = Journal(folder)
    found = [entry.number for entry in journal.entries()]
    assert found == list(range(1, len(found) + 1)), found
    assert answered < numbers[-1] <= len(found), (answered, numbers, len(found))
    answered = journal.put([Document("after", "the kill")])
    assert answered == len(found) + 1
print(answered)
"""


@pytest.mark.parametrize("seed", [1])
def test_every_answered_entry_is_there_after_ten_kills(tmp_path: Path, seed: int) -> None:
    command = [sys.executable, "-W", "ignore", "-c", KILLED, tmp_path, str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (seed, done.stderr)
    assert int(done.stdout) >= 20


def test_a_full_disk_refuses_in_one_sentence_and_keeps_what_was_answered(tmp_path: Path) -> None:
    journal, answered = Journal(tmp_path), 0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(Unavailable) as refused:  # noqa: PT012 - the fill until it is full
            while True:
                answered = journal.put([Document(name, "word " * 1000) for name in "ab"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(refused.value) == (
        f"{journal.path} cannot be written (File too large); nothing was changed"
    )
    assert answered >= 10
    assert [e.number for e in Journal(tmp_path).entries()] == list(range(1, answered + 1))
    assert journal.put([Document("c", "there is room again")]) == answered + 1


def test_a_compaction_without_room_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path)
    journal.put([Document("a", "one")])
    journal.put([Document("a", "two")])
    before = journal.path.read_bytes()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(Unavailable, match="No space left on device"):
        journal.compact()
    with pytest.raises(Unavailable, match="No space left on device"):
        journal.delete(["a"])
    assert journal.path.read_bytes() == before
    assert {p.name for p in journal.path.parent.iterdir()} == {"entries.jsonl", "lock"}


def test_a_clock_that_jumps_hides_no_entry(tmp_path: Path) -> None:
    journal, reader = Journal(tmp_path), Journal(tmp_path)
    for number, now in enumerate((2e9, 1e9, 0.0, 3e9), start=1):
        assert journal.put([Document("a", f"{number}")]) == number
        assert [entry.number for entry in reader.entries(after=number - 1)] == [number]
        os.utime(journal.path, (now, now))
        assert reader.unchanged()


def test_a_service_that_is_killed_after_its_answer_has_lost_nothing(collection_of) -> None:
    folder = collection_of('{"_id": "1", "text": "a red car"}')
    command = [COMMAND, "serve", folder, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        where = server.stderr.readline().split(" at ")[1].split(",")[0]
        for number in range(1, 4):
            url = f"{where}/v1/documents/new{number}"
            answer = httpx.put(url, json={"text": f"boat number {number}"}, timeout=60)
            assert answer.json()["number"] == number
        assert httpx.delete(f"{where}/v1/documents/1").status_code == 200
        server.kill()
    with rankwell.open(folder) as collection:
        hits = collection.search("red boat car").hits
        assert {hit.doc_id for hit in hits} == {"new1", "new2", "new3"}
