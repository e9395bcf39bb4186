"""Damage of every kind: a sentence, and nothing published is harmed or made worse."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rankwell
from rankwell.data.config import AnalysisConfig
from rankwell.data.errors import DamagedVersion
from rankwell.data.versions import VersionStore
from rankwell.indexer.job import index_collection
from rankwell.indexer.retraining import retrain_words
from rankwell.ranker.jobs import train_ranker

COMMAND = Path(sys.executable).parent / "rankwell"
LINES = ('{"_id": "1", "text": "a red car"}', '{"_id": "2", "text": "a blue boat"}')


def test_a_token_that_points_nowhere_crashes_nothing(cranfield_copy: Path) -> None:
    tokens = cranfield_copy / "versions" / "000002" / "forward" / "tokens.npy"
    stored = np.load(tokens, mmap_mode="r+")
    stored[::7] |= np.int32(1 << 30)
    stored[3::7] = -5
    stored.flush()
    # in a process of its own, so that a segmentation fault is seen as one
    script = (
        "import rankwell, sys\n"
        "c = rankwell.open(sys.argv[1])\n"
        "print(len(c.search('heat transfer in a boundary layer', explain=True).hits))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, cranfield_copy], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "10\n"), done.stderr
    with pytest.raises(DamagedVersion, match=r"forward/tokens\.npy has changed"):
        VersionStore(cranfield_copy).verify()


@pytest.mark.parametrize(
    ("part", "job"),
    [
        ("documents.arrow", train_ranker),
        ("lexical", train_ranker),
        ("encoder/words.txt", train_ranker),
        ("documents.arrow", retrain_words),
        ("analysis.json", retrain_words),
    ],
)
def test_a_job_does_not_pass_damage_on_as_sound(cranfield_copy: Path, part: str, job) -> None:
    version = cranfield_copy / "versions" / "000002"
    path = version / part
    if path.is_dir():
        path = max(path.iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(path.read_bytes())
    content[-200 if part == "documents.arrow" else len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedVersion):
        job(cranfield_copy)
    assert VersionStore(cranfield_copy).current_name() == "000002"
    assert VersionStore(cranfield_copy).names() == ["000001", "000002"]


@pytest.mark.parametrize("pointer", ["", "000009", "nonsense\n"])
def test_a_full_job_mends_a_pointer_that_names_nothing(collection_of, pointer: str) -> None:
    folder = collection_of(*LINES)
    (folder / "current").write_text(pointer)
    report = index_collection(folder, full=True)
    assert (report.version, report.counts.live) == ("000002", 2)
    with rankwell.open(folder) as collection:
        assert len(collection) == 2


def test_a_live_version_does_not_need_the_files_it_was_configured_with(collection_of) -> None:
    folder = collection_of(*LINES, index=False, analysis=AnalysisConfig(synonyms="same.txt"))
    (folder / "same.txt").write_text("car, automobile\n")
    index_collection(folder)
    (folder / "same.txt").unlink()
    with rankwell.open(folder) as collection:
        assert [hit.doc_id for hit in collection.search("automobile", 1).hits] == ["1"]


def test_a_folder_that_is_its_own_source_does_not_read_what_we_wrote(collection_of) -> None:
    folder = collection_of(*LINES, "{broken", index=False)
    config = folder / "rankwell.toml"
    config.write_text(config.read_text().replace('"corpus.jsonl"', '"."'))
    refused = subprocess.run([COMMAND, "index", folder], capture_output=True, check=False)
    assert refused.returncode == 2
    assert list((folder / "rejected").iterdir())
    (folder / "corpus.jsonl").write_text("\n".join(LINES))
    assert index_collection(folder).counts.read == 2
    assert not list((folder / "rejected").iterdir())


@pytest.mark.parametrize("command", ["index DIR", "train words DIR", "delete DIR 1 --erase"])
def test_a_disk_that_is_full_is_one_sentence(collection_of, command: str) -> None:
    folder = collection_of(*LINES)
    (folder / "corpus.jsonl").write_text("\n".join(LINES[:1]))
    limited = f"ulimit -f 1; exec {COMMAND} {command.replace('DIR', str(folder))}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert VersionStore(folder).verify().name == "000001"


def test_a_file_system_without_hard_links_gets_copies(cranfield_copy: Path, monkeypatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    assert train_ranker(cranfield_copy).version == "000003"
    assert VersionStore(cranfield_copy).verify().name == "000003"
