"""SVMlight files: what is written is read again, what cannot be read is named."""

import numpy as np
import pytest

from rankwell.data.errors import InputError
from rankwell.ranker.svmlight import (
    JudgedList,
    read_facts,
    read_svmlight,
    with_width,
    write_svmlight,
)


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "f.svm"
    lists = [
        JudgedList(
            "q1",
            np.array([[0.5, 0, np.nan], [0, 0, -2e-5]], np.float32),
            np.array([2, 0], np.float32),
            ("a", "b"),
        ),
        JudgedList("q0", np.array([[0, 1, 0]], np.float32), np.array([1], np.float32), ("c",)),
    ]
    assert write_svmlight(path, ("x", "y", "z"), lists) == 3
    assert path.read_text().splitlines() == [
        "# features: x y z",
        "2 qid:q1 1:0.5 3:nan # a",
        "0 qid:q1 3:-2e-05 # b",
        "1 qid:q0 2:1 # c",
    ]
    names, found = read_svmlight(path)
    assert names == ("x", "y", "z")
    for one, other in zip(found, lists, strict=True):
        assert (one.query_id, one.doc_ids) == (other.query_id, other.doc_ids)
        np.testing.assert_array_equal(one.features_KF, other.features_KF)
        np.testing.assert_array_equal(one.labels_K, other.labels_K)


def test_ids_may_hold_blanks_and_signs_that_part_columns(tmp_path):
    ids = ("q#1", "q#2", "my query", "50%", "a\nb", "ü")
    one = np.ones((1, 1), np.float32)
    lists = [JudgedList(name, one, np.ones(1, np.float32), (f"doc {name}",)) for name in ids]
    write_svmlight(tmp_path / "f.svm", ("x",), lists)
    _, found = read_svmlight(tmp_path / "f.svm")
    assert [(one.query_id, *one.doc_ids) for one in found] == [(n, f"doc {n}") for n in ids]


def test_facts_stand_above_the_lines(tmp_path):
    path, one = tmp_path / "f.svm", np.ones((1, 1), np.float32)
    lists = [JudgedList("q", one, np.ones(1, np.float32))]
    write_svmlight(path, ("x",), lists, {"fit": {"k1": 0.9}, "texts": {"q": "a\nü"}})
    assert path.read_text().splitlines()[1] == (
        '# facts: {"fit": {"k1": 0.9}, "texts": {"q": "a\\n\\u00fc"}}'
    )
    assert read_facts(path) == {"fit": {"k1": 0.9}, "texts": {"q": "a\nü"}}
    names, [found] = read_svmlight(path)
    assert (names, found.query_id) == (("x",), "q")
    for other in ("1 qid:q 1:1\n# facts: {}\n", "# facts: [1]\n", "# facts: {\n"):
        path.write_text(other)
        assert read_facts(path) == {}


def test_a_file_without_names_is_as_wide_as_its_last_feature(tmp_path):
    path = tmp_path / "f.svm"
    path.write_text("1 qid:7 4:2\n0 qid:7\n\n# a comment\n")
    names, [one] = read_svmlight(path)
    assert names == ()
    assert one.features_KF.tolist() == [[0, 0, 0, 2], [0, 0, 0, 0]]
    assert with_width([one], 6)[0].features_KF.shape == (2, 6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no lines such as"),
        ("1 1:2\n", "line 1 of .* has no qid"),
        ("1 qid:1 1:2\nx qid:1 1:2\n", "line 2 of .* cannot be read"),
        ("1 qid:1 one:2\n", "cannot be read"),
        ("1 qid:1 1:2:3\n", "cannot be read"),
        ("-1 qid:1 1:2\n", "label -1; labels are from 0 to 1000"),
        ("1e9 qid:1 1:2\n", "label 1e9; .* bring them onto a smaller scale"),
        ("nan qid:1 1:2\n", "label nan"),
        ("1 qid:1 0:2\n", "numbered from 1"),
        ("1 qid:1 900000:2\n", "up to 100000"),
        ("1 qid:1 1:2\n1 qid:2 1:2\n1 qid:1 1:2\n", "in two places"),
        (b"\xff\xfe\x00", "is no text"),
    ],
)
def test_what_cannot_be_read_is_named(content, message, tmp_path):
    path = tmp_path / "f.svm"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        read_svmlight(path)


def test_a_file_that_is_not_there_or_cannot_be_written_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_svmlight(tmp_path / "none.svm")
    with pytest.raises(InputError, match="cannot be written"):
        write_svmlight(tmp_path / "none" / "f.svm", (), [])
