import json
from pathlib import Path

import numpy as np
import pytest

from rankwell.training.checkpoints import SUMMARY, TABLES, Checkpoint, Checkpoints


def checkpoint(*done: int) -> Checkpoint:
    tables = {"t": np.full((3, 2), len(done), np.float32)}
    return Checkpoint(tables, frozenset(done), {"curve": [[1, 2, 0.5, 0.25]]})


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "new")
    assert kept.latest("a") is None
    kept.save("a", checkpoint(0, 1, 4))
    last = kept.latest("a")
    assert last is not None
    assert last.done == {0, 1, 4}
    assert last.state == {"curve": [[1, 2, 0.5, 0.25]]}
    np.testing.assert_array_equal(last.tables["t"], np.full((3, 2), 3, np.float32))
    assert kept.latest("b") is None  # of another training


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    for count in (1, 2, 3):
        kept.save("a", checkpoint(*range(count)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_a_new_training_keeps_its_first_checkpoints_beside_longer_ones_of_another(
    tmp_path: Path,
) -> None:
    kept = Checkpoints(tmp_path)
    for count in (40, 50):
        kept.save("a", checkpoint(*range(count)))
    kept.save("b", checkpoint(*range(5)))
    last = kept.latest("b")
    assert last is not None
    assert last.done == set(range(5))
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000005"]  # nothing resumes the others


@pytest.mark.parametrize("damage", [TABLES, SUMMARY])
@pytest.mark.parametrize("how", ["bit", "cut", "gone"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, damage: str, how: str
) -> None:
    kept = Checkpoints(tmp_path)
    kept.save("a", checkpoint(0))
    file = kept.save("a", checkpoint(0, 1)) / damage
    content = bytearray(file.read_bytes())
    if how == "gone":
        file.unlink()
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content if how == "bit" else content[:-5])
    last = kept.latest("a")
    assert last is not None
    assert last.done == {0}


def test_a_draft_that_a_crash_left_is_no_checkpoint(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save("a", checkpoint(0))
    (tmp_path / ".draft").mkdir()
    (tmp_path / ".draft" / SUMMARY).write_text(json.dumps({}))
    last = kept.latest("a")
    assert last is not None
    assert last.done == {0}
    kept.save("a", checkpoint(0, 1))
    assert not (tmp_path / ".draft").exists()


def test_clear_leaves_nothing(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "kept")
    kept.save("a", checkpoint(0))
    kept.clear()
    assert not (tmp_path / "kept").exists()
    kept.clear()
