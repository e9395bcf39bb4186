"""Faults of the batch job: what was live answers on, and nothing finished is done twice.

The drivers beside this file do the same at length; see their help.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankwell
from rankwell.data import release, versions
from rankwell.data.durable import save_array, save_blocks
from rankwell.data.errors import DamagedVersion, InputError, Unavailable
from rankwell.data.versions import VersionStore
from rankwell.indexer import job as batch
from rankwell.indexer import report, space
from rankwell.indexer.invariants import check_invariants
from rankwell.indexer.job import index_collection
from rankwell.indexer.releasing import roll_back
from rankwell.indexer.space import check_space

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).parent / "rankwell"
LINES = [f'{{"_id": "{i}", "text": "word{i} wing flow {i % 7}"}}' for i in range(20)]


@pytest.mark.parametrize(
    "options",
    [
        ("kill.py", "--kills", "20"),
        ("kill.py", "--fault", "power", "--kills", "5"),
        ("kill.py", "--fault", "fsync", "--kills", "5"),
        ("full_disk.py", "--sizes", "6"),
        ("damage.py", "--flips", "2", "--most", "12"),
    ],
    ids=lambda options: " ".join(options),
)
def test_a_fault_harms_nothing_that_is_live_and_the_job_goes_on(options: tuple[str, ...]) -> None:
    command = [sys.executable, "-W", "ignore", HERE / options[0], *options[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout.splitlines()[-1]
