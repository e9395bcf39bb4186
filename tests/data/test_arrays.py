import resource
from pathlib import Path

import numpy as np
import pytest

from rankwell.data.arrays import open_array, save_array, save_blocks


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.int32).reshape(4, 3),
        np.arange(12, dtype=np.float16).reshape(4, 3).T,
        np.zeros(0, np.int64),
        np.array([True, False]),
    ],
)
def test_a_file_has_the_bytes_that_numpy_writes(tmp_path: Path, array: np.ndarray) -> None:
    save_array(tmp_path / "ours.npy", array)
    np.save(tmp_path / "theirs.npy", np.ascontiguousarray(array))
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()
    np.testing.assert_array_equal(open_array(tmp_path / "ours.npy"), array)


def test_blocks_become_one_array(tmp_path: Path) -> None:
    blocks = (np.array([start, start + 1], np.int32) for start in (0, 2, 4))
    save_blocks(tmp_path / "a.npy", (6,), np.dtype(np.int32), blocks)
    assert open_array(tmp_path / "a.npy").tolist() == [0, 1, 2, 3, 4, 5]


def test_an_array_that_finds_no_room_is_an_error_to_its_last_byte(tmp_path: Path) -> None:
    array = np.arange(1000, dtype=np.int32)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # numpy's own save of these 128 + 4000 bytes ends without an error
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_array(tmp_path / "a.npy", array)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"no array at all, by far"])
def test_what_is_no_array_is_a_value_error(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(damage)
    with pytest.raises(ValueError, match=r"a\.npy is no whole \.npy file"):
        open_array(tmp_path / "a.npy")


def test_a_header_with_a_wrong_character_is_a_value_error(tmp_path: Path) -> None:
    save_array(tmp_path / "a.npy", np.arange(6, dtype=np.int32))
    written = (tmp_path / "a.npy").read_bytes()
    for old, new in ((b"'descr'", b"'discr'"), (b"{", b"("), (b"(6,)", b"[6,)"), (b"<i4", b"<q9")):
        assert old in written
        (tmp_path / "a.npy").write_bytes(written.replace(old, new, 1))
        with pytest.raises(ValueError, match=r"a\.npy is no whole \.npy file"):
            open_array(tmp_path / "a.npy")
