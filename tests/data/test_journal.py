"""The journal: what it comes to, and what it does when another process or a crash comes between."""

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rankwell.data.entries import Entry
from rankwell.data.errors import DamagedJournal, InputError, Unavailable
from rankwell.data.journal import Journal
from rankwell.data.records import Document

CAR = Document("car", "a red car", "Car", {"year": 1904, "tags": ["a", "b"], "speed": 0.5})
BOAT = Document("boat", "a blue boat")

APPENDING = """
import sys
from pathlib import Path
from rankwell.data.journal import Journal
from rankwell.data.records import Document

folder = Path(sys.argv[1])
(folder / "started").touch()
for i in range(20):
    Journal(folder).put([Document(f"child-{i}", "text")])
"""


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


def test_entries_come_back_as_they_were_put_in_order_and_numbered_by_one(journal: Journal) -> None:
    assert journal.put([CAR, BOAT]) == 2
    assert (journal.delete(["car"]), journal.withdraw(["boat"])) == (3, 4)
    assert journal.entries() == [
        Entry(1, "put", "car", CAR),
        Entry(2, "put", "boat", BOAT),
        Entry(3, "delete", "car"),
        Entry(4, "withdraw", "boat"),
    ]
    assert journal.entries(after=3) == [Entry(4, "withdraw", "boat")]


def test_a_file_without_a_journal_has_no_entries_and_none_is_made_by_reading(
    journal: Journal, tmp_path: Path
) -> None:
    assert (journal.entries(), journal.state(), journal.last_number()) == ([], {}, 0)
    assert journal.unchanged()
    assert (journal.put([]), list(tmp_path.iterdir())) == (0, [])


def test_the_state_is_the_last_change_of_each_document_unless_it_is_withdrawn(
    journal: Journal,
) -> None:
    newer = Document("car", "a green car")
    journal.put([CAR, BOAT])
    journal.delete(["car", "train"])
    journal.put([newer])
    journal.withdraw(["boat"])
    assert journal.state() == {"train": None, "car": newer}
    assert journal.state(up_to=5) == {"boat": BOAT, "train": None, "car": newer}
    assert journal.state(up_to=3) == {"boat": BOAT, "car": None}
    assert journal.state(up_to=0) == {}


def test_every_line_is_json_of_its_own(journal: Journal) -> None:
    journal.put([CAR])
    header, line = map(json.loads, journal.path.read_text().splitlines())
    assert (header["format_version"], header["generation"]) == (1, 1)
    assert (line["number"], line["op"], line["doc_id"]) == (1, "put", "car")
    assert line["document"] == {
        "title": "Car",
        "text": "a red car",
        "fields": {"year": 1904, "tags": ["a", "b"], "speed": 0.5},
    }


def test_a_reader_goes_on_where_it_ended_and_sees_what_others_append(journal: Journal) -> None:
    other = Journal(journal.path.parents[1])
    other.put([CAR])
    assert not journal.unchanged()
    assert [entry.number for entry in journal.entries()] == [1]
    assert journal.unchanged()
    other.delete(["car"])
    assert not journal.unchanged()
    assert journal.entries(after=1) == [Entry(2, "delete", "car")]
    assert journal.entries(after=2) == []
    assert [entry.number for entry in journal.entries()] == [1, 2]


def test_compaction_keeps_the_last_change_of_each_document_under_its_number(
    journal: Journal,
) -> None:
    reader = Journal(journal.path.parents[1])
    journal.put([CAR, BOAT])
    journal.delete(["train"])
    journal.put([CAR])
    journal.withdraw(["train"])
    assert len(reader.entries()) == 5
    state = journal.state()
    assert journal.compact() == 2
    assert [(e.number, e.op, e.doc_id) for e in journal.entries()] == [
        (2, "put", "boat"),
        (4, "put", "car"),
        (5, "withdraw", "train"),
    ]
    assert journal.state() == state
    assert (journal.compact(), journal.last_number()) == (0, 5)
    # a reader that was further than the new file is long notices, and misses nothing
    assert not reader.unchanged()
    assert journal.put([BOAT]) == 6
    assert [entry.number for entry in reader.entries(after=5)] == [6]
    assert {p.name for p in journal.path.parent.iterdir()} == {"entries.jsonl", "lock"}


def test_a_journal_that_was_lost_goes_on_past_what_a_version_holds(tmp_path: Path) -> None:
    journal = Journal(tmp_path, folded=17)
    assert (journal.last_number(), journal.put([CAR]), journal.put([BOAT])) == (17, 18, 19)


def test_two_processes_and_many_threads_append_without_losing_or_doubling_a_number(
    journal: Journal,
) -> None:
    folder, numbers = journal.path.parents[1], []

    def append(name: str) -> None:
        numbers.extend(journal.put([Document(f"{name}-{i}", "text")]) for i in range(10))

    child = subprocess.Popen([sys.executable, "-c", APPENDING, folder])
    while not (folder / "started").exists():
        assert child.poll() is None
    threads = [threading.Thread(target=append, args=(f"{i}",)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert child.wait() == 0
    entries = journal.entries()
    assert [entry.number for entry in entries] == list(range(1, 51))
    assert len({entry.doc_id for entry in entries}) == 50
    assert len(set(numbers)) == 30


def test_a_reader_waits_for_an_append_that_is_not_durable_yet(journal: Journal) -> None:
    journal.put([CAR])
    seen: list[Entry] = []
    reader = threading.Thread(target=lambda: seen.extend(journal.entries()))
    with (journal.path.parent / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        reader.start()
        reader.join(0.05)
        assert (reader.is_alive(), seen) == (True, [])
    reader.join()
    assert [entry.number for entry in seen] == [1]


def test_appending_syncs_the_entries_and_the_names_of_a_new_journal(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    journal.put([CAR])
    folder = journal.path.parent
    assert synced == [str(folder), str(folder.parent), str(journal.path)]
    journal.delete(["car"])
    assert synced[3:] == [str(journal.path)]


def test_what_cannot_be_made_durable_is_refused_and_not_read(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.put([CAR])
    content, fsync = journal.path.read_bytes(), os.fsync

    def failing(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(
        Unavailable, match=r"entries\.jsonl cannot be written \(Input/output error\)"
    ):
        journal.put([BOAT])
    assert journal.path.read_bytes() == content
    monkeypatch.setattr(os, "fsync", fsync)
    assert journal.put([BOAT]) == 2


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (Document("a\ud800", "x"), "surrogates"),
        (Document("a", "x", fields={"n": 2**70}), "64-bit"),
    ],
)
def test_a_document_that_is_no_json_is_refused_with_its_id(
    journal: Journal, document: Document, says: str
) -> None:
    with pytest.raises(InputError, match=f"'a.*' cannot be written as JSON: .*{says}"):
        journal.put([BOAT, document])
    assert journal.entries() == []


def test_the_end_of_an_append_that_a_crash_cut_short_is_passed_over_and_cut_off(
    journal: Journal,
) -> None:
    journal.put([CAR, BOAT])
    whole = journal.path.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for length in range(len(whole) - last, len(whole)):
        journal.path.write_bytes(whole[:length])
        fresh = Journal(journal.path.parents[1])
        assert [e.doc_id for e in fresh.entries()] == ["car"]
        assert fresh.last_number() == 1
    assert fresh.delete(["car"]) == 2
    assert fresh.entries() == [Entry(1, "put", "car", CAR), Entry(2, "delete", "car")]
    assert fresh.unchanged()


@pytest.mark.parametrize("length", [0, 1, 30])
def test_a_first_append_that_a_crash_cut_short_leaves_an_empty_journal(
    journal: Journal, length: int
) -> None:
    journal.put([CAR])
    journal.path.write_bytes(journal.path.read_bytes()[:length])
    assert (journal.entries(), journal.last_number(), journal.state()) == ([], 0, {})
    assert journal.put([BOAT]) == 1
    assert journal.entries() == [Entry(1, "put", "boat", BOAT)]


def test_every_flipped_bit_is_named_with_its_line_and_what_came_before_still_counts(
    journal: Journal,
) -> None:
    journal.put([BOAT])
    journal.delete(["boat"])
    journal.withdraw(["boat"])
    whole = journal.path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        journal.path.write_bytes(damaged)
        line = whole[:place].count(b"\n") + 1
        fresh = Journal(journal.path.parents[1])
        with pytest.raises(DamagedJournal, match=r"is damaged: line \d|has format"):
            fresh.state()
        if line > 2:
            assert [entry.number for entry in fresh.entries()] == list(range(1, line - 1))
        if line == 4:  # the journal's end, which an append looks at
            with pytest.raises(DamagedJournal, match="line 4 is not as it was written"):
                fresh.put([CAR])
        assert journal.path.read_bytes() == damaged


def test_damage_in_the_middle_says_which_line_and_a_compaction_leaves_all_as_it_was(
    journal: Journal,
) -> None:
    journal.put([BOAT, CAR])
    journal.delete(["boat"])
    content = journal.path.read_bytes().replace(b"a red car", b"a rod car")
    journal.path.write_bytes(content)
    sentence = "line 3 is not as it was written; put the file back from a copy, or take that line"
    for read in (journal.state, journal.compact, lambda: journal.entries(after=1)):
        with pytest.raises(DamagedJournal, match=sentence):
            read()
    assert journal.path.read_bytes() == content
    # the line taken out, the rest counts
    lines = content.splitlines(keepends=True)
    journal.path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert journal.state() == {"boat": None}


def test_a_journal_of_another_format_is_named(journal: Journal) -> None:
    journal.path.parent.mkdir()
    journal.path.write_text('{"format_version":2,"compressed":true}\n…\n')
    for attempt in (journal.state, journal.entries, lambda: journal.put([CAR])):
        with pytest.raises(
            DamagedJournal, match="has format 2; this rankwell reads format 1: use the rankwell"
        ):
            attempt()


def test_an_entry_larger_than_what_is_read_at_once_is_found_from_the_end(journal: Journal) -> None:
    large = Document("large", "word " * 60_000)
    assert journal.put([CAR, large]) == 2
    assert journal.put([Document("larger", "word " * 100_000)]) == 3
    assert journal.last_number() == 3
    assert journal.delete(["large"]) == 4
    assert [entry.number for entry in journal.entries()] == [1, 2, 3, 4]
