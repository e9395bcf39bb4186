"""Training started by torchrun, as people do it on several processes or machines."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rankwell.data.config import DenseConfig

BIN = Path(sys.executable).parent


def test_processes_of_torchrun_train_the_encoder_together_and_the_first_publishes(
    collection_of: Callable[..., Path],
) -> None:
    words = [f"word{n}" for n in range(40)]
    texts = [" ".join(words[(n * 7 + k) % 40] for k in range(12)) for n in range(160)]
    lines = [
        json.dumps({"_id": str(n), "title": text.split()[5], "text": text})
        for n, text in enumerate(texts)
    ]
    folder = collection_of(*lines, dense=DenseConfig(encoder="sif"))
    done = subprocess.run(
        [
            *(BIN / "torchrun", "--standalone", "--nproc-per-node", "2", "--no-python"),
            *(BIN / "rankwell", "train", "encoder", folder, "--json"),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)  # one object: the second process says nothing
    assert report["version"] == "000002"
    assert sorted(path.name for path in (folder / "versions").iterdir()) == ["000001", "000002"]
    assert report["facts"]["documents"] == 152  # all but the held out
