from pathlib import Path

import pytest

import rankwell
from rankwell.data.errors import InputError
from rankwell.serving.beside import Beside
from rankwell.serving.following import Live


def test_another_version_is_searched_beside_the_live_one(two_versions: Path) -> None:
    with Live(rankwell.open(two_versions)) as live:
        beside = Beside(live)
        with beside.collection("000002") as other, beside.collection() as now:
            assert (other.version.name, now.version.name) == ("000002", "000001")
            assert other.search("a wing", 1).hits[0].title == "of 000002"
            with beside.collection("000002") as again, beside.collection("000001") as same:
                assert (again, same) == (other, now)


def test_a_version_written_anew_under_its_name_is_opened_anew(two_versions: Path) -> None:
    with Live(rankwell.open(two_versions)) as live:
        beside = Beside(live)
        with beside.collection("000002") as other:
            manifest = two_versions / "versions" / "000002" / "manifest.json"
            content = manifest.read_bytes()
            manifest.unlink()
            manifest.write_bytes(content)
            with beside.collection("000002") as again:
                assert again is not other
            assert other.search("a wing", 1).hits  # whoever holds it keeps it


@pytest.mark.parametrize("name", ["000009", "../000001", "x"])
def test_a_version_that_is_not_there_is_the_callers_mistake(two_versions: Path, name: str) -> None:
    with Live(rankwell.open(two_versions)) as live:
        with pytest.raises(InputError) as caught, Beside(live).collection(name):
            pass
        assert (caught.value.field, caught.value.http_status) == ("version", 400)
