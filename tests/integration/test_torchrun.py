"""Training started by torchrun, as people do it on several processes or machines."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rankwell.data.config import DenseConfig
from rankwell.indexer.job import index_collection

BIN = Path(sys.executable).parent
POOLED = DenseConfig(encoder="sif")


WORDS = [f"word{n}" for n in range(40)]


def lines(number: int) -> list[str]:
    texts = [" ".join(WORDS[(n * 7 + k) % 40] for k in range(12)) for n in range(number)]
    return [
        json.dumps({"_id": str(n), "title": text.split()[5], "text": text})
        for n, text in enumerate(texts)
    ]


def two_processes(*arguments: object) -> dict[str, Any]:
    """Runs a command under torchrun, and returns what it printed."""
    done = subprocess.run(
        [
            *(str(BIN / "torchrun"), "--standalone", "--nproc-per-node", "2", "--no-python"),
            *(str(BIN / "rankwell"), *map(str, arguments), "--json"),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)  # one object: the second says nothing
    return printed


def test_processes_of_torchrun_train_the_encoder_together_and_the_first_publishes(
    collection_of: Callable[..., Path],
) -> None:
    folder = collection_of(*lines(160), dense=POOLED)
    report = two_processes("train", "encoder", folder)
    assert report["version"] == "000002"
    assert sorted(path.name for path in (folder / "versions").iterdir()) == ["000001", "000002"]
    assert report["facts"]["documents"] == 152  # all but the held out


def test_processes_of_torchrun_train_words_on_rows_that_the_first_one_numbered_anew(
    collection_of: Callable[..., Path],
) -> None:
    folder = collection_of(*lines(30), dense=POOLED)
    (folder / "corpus.jsonl").write_text("\n".join(lines(29)) + "\n")
    assert index_collection(folder).version == "000002"  # with a dead row
    report = two_processes("train", "words", folder, "--strategy", "synchronous")
    assert report["version"] == "000004"  # 000003 is the second one without the dead row
    curve = report["training"]["curve"]
    assert curve[-1]["examples"] == 2 * 29 * 13  # both epochs over what is left
