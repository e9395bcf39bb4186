"""Each kind of error has its exit code and HTTP status, and a hint names what is near."""

import pytest

from rankwell.data import errors
from rankwell.data.errors import MissingPackage, RankwellError, nearest


@pytest.mark.parametrize(
    ("kind", "exit_code", "http_status"),
    [
        ("RankwellError", 1, 500),
        ("InputError", 2, 400),
        ("ConfigError", 2, 400),
        ("RejectedRecords", 2, 400),
        ("DamagedVersion", 2, 503),
        ("NotFound", 2, 404),
        ("DamagedJournal", 2, 503),
        ("Refused", 3, 500),
        ("Unavailable", 4, 503),
        ("MissingIndex", 4, 503),
        ("MissingPackage", 4, 503),
    ],
)
def test_every_kind_of_error_has_its_exit_code_and_http_status(
    kind: str, exit_code: int, http_status: int
) -> None:
    error = getattr(errors, kind)
    assert (error.exit_code, error.http_status) == (exit_code, http_status)


def test_the_tree_that_is_drawn_is_the_tree_that_there_is() -> None:
    drawn = [line for line in (errors.__doc__ or "").splitlines() if line.startswith("    ")]
    kinds = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, RankwellError)
    }
    assert {line.split("── ")[-1].split()[0] for line in drawn} == kinds


def test_a_missing_package_gives_the_line_that_installs_it() -> None:
    assert str(MissingPackage("faiss", "cpu")) == (
        "faiss is not installed; install it with: pip install 'rankwell[cpu]'"
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [("dpth", "did you mean 'depth'?"), ("", "known are b, depth"), ("zzz", "known are b, depth")],
)
def test_the_nearest_name_is_hinted_or_else_all_are_listed(name: str, hint: str) -> None:
    assert nearest(name, {"depth": 1, "b": 2}) == hint
