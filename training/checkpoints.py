"""Checkpoints: tables and progress of a training, written so that a crash leaves the last one.

    folder/
      step-00000040/      tables.safetensors and checkpoint.json, with the hash of both
      step-00000050/
      .draft              one that is being written

A checkpoint is written beside the others, fsynced and renamed; the last two are kept, so that a
damaged one has a predecessor. Those of another training go with the first of this one: nothing
resumes them any more. All strategies write the same form: a training that was started by one can be
resumed by another.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rankwell.data.durable import fsync_folder, replace_text, sha256_of
from rankwell.training.task import Tables

FORMAT_VERSION = 1
TABLES = "tables.safetensors"
SUMMARY = "checkpoint.json"
KEPT = 2

_DIGEST = "sha256"  # of the rest of the summary, which holds the tables' own


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        done: the numbers of the finished steps.
        state: what the run keeps beside the tables, such as its curve; JSON.
    """

    tables: Tables
    done: frozenset[int]
    state: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one training, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        """Names the folder, which is made at the first checkpoint."""
        self.folder = folder

    def save(self, fingerprint: str, checkpoint: Checkpoint) -> Path:
        """Writes a checkpoint; once this returns, neither a crash nor a power cut takes it away."""
        draft = self.folder / ".draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        tables = {name: np.ascontiguousarray(t) for name, t in checkpoint.tables.items()}
        save_file(tables, draft / TABLES)
        summary = {
            "format_version": FORMAT_VERSION,
            "fingerprint": fingerprint,
            "done": _runs(checkpoint.done),
            "tables_sha256": sha256_of(draft / TABLES, fsync=True),
            "state": dict(checkpoint.state),
        }
        replace_text(draft / SUMMARY, json.dumps({**summary, _DIGEST: _digest(summary)}))
        target = self.folder / f"step-{len(checkpoint.done):08d}"
        shutil.rmtree(target, ignore_errors=True)  # a damaged one, or one of another fingerprint
        draft.rename(target)
        for folder in (self.folder, self.folder.parent):  # which may be new too
            fsync_folder(folder)
        ours = []
        for older in self._names():
            if older == target or _fingerprint(older) == fingerprint:
                ours.append(older)
            else:
                shutil.rmtree(older)
        for older in ours[:-KEPT]:
            shutil.rmtree(older)
        return target

    def latest(self, fingerprint: str) -> Checkpoint | None:
        """Returns the newest checkpoint of a training that is whole, None where there is none."""
        for folder in reversed(self._names()):
            try:
                summary = json.loads((folder / SUMMARY).read_text())
                digest = summary.pop(_DIGEST)
                if (
                    digest == _digest(summary)
                    and summary["format_version"] == FORMAT_VERSION
                    and summary["fingerprint"] == fingerprint
                    and summary["tables_sha256"] == sha256_of(folder / TABLES)
                ):
                    done = frozenset(n for a, b in summary["done"] for n in range(a, b))
                    return Checkpoint(load_file(folder / TABLES), done, summary["state"])
            except (OSError, ValueError, KeyError, TypeError, SafetensorError):
                continue
        return None

    def clear(self) -> None:
        """Removes all checkpoints, once what they led to is kept elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _names(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _runs(numbers: Iterable[int]) -> list[list[int]]:
    """Returns numbers as half-open ranges.

    >>> _runs({0, 1, 2, 5})
    [[0, 3], [5, 6]]
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number:
            runs[-1][1] = number + 1
        else:
            runs.append([number, number + 1])
    return runs


def _digest(summary: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(summary, sort_keys=True).encode()).hexdigest()


def _fingerprint(folder: Path) -> str | None:
    """Returns which training a checkpoint is of; None where it does not say."""
    try:
        found: str = json.loads((folder / SUMMARY).read_text())["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found
