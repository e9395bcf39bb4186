import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rankwell.cli import app
from rankwell.data.errors import InputError, NotFound
from rankwell.serving.keys import DamagedKeys, KeyStore


def test_a_key_is_found_by_its_secret_and_by_nothing_else(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    token, other = store.create("web shop", ["search", "clicks"]), store.create("job", ["write"])
    found = store.find(token)
    assert found is not None
    assert (found.name, found.roles, found.filter) == ("web shop", ("search", "clicks"), None)
    assert [found.may(role) for role in ("search", "clicks", "write", "admin")] == [
        True,
        True,
        False,
        False,
    ]
    swapped = token[:12] + other[12:]
    for wrong in ("", "rw-", token[:-1], token + "x", token.upper(), swapped, found.digest):
        assert store.find(wrong) is None


def test_an_admin_may_do_all(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    key = store.find(store.create("operator", ["admin"]))
    assert key is not None
    assert all(key.may(role) for role in ("search", "clicks", "write", "admin"))


def test_the_file_holds_hashes_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    token = KeyStore(tmp_path).create("web shop", ["admin"])
    path = tmp_path / "keys.json"
    secret = token.split("-", 2)[2]
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_revoked_key_stops_at_once_in_another_store(tmp_path: Path) -> None:
    serving, managing = KeyStore(tmp_path), KeyStore(tmp_path)
    token = managing.create("web shop", ["search"])
    key = serving.find(token)
    assert key is not None
    managing.revoke(key.key_id)
    assert serving.find(token) is None
    with pytest.raises(NotFound, match="there is no key"):
        managing.revoke(key.key_id)


def test_keys_are_asked_for_from_the_first_one_on_and_ever_after(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    assert not store.required
    token = store.create("web shop", ["search"])
    assert store.required
    (tmp_path / "keys.json").unlink()
    assert store.required
    assert store.find(token) is None
    # a process that comes later is told that there were keys
    assert KeyStore(tmp_path, required=True).required


def test_a_damaged_file_lets_nobody_in(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    token = store.create("web shop", ["search"])
    for content in ("{", "[]", '{"format_version": 2, "keys": []}', '{"format_version": 1}'):
        (tmp_path / "keys.json").write_text(content)
        with pytest.raises(DamagedKeys, match="nobody is let in"):
            store.find(token)
        with pytest.raises(DamagedKeys):
            KeyStore(tmp_path).create("another", ["search"])


@pytest.mark.parametrize(
    ("name", "roles", "says"),
    [
        (" ", ["search"], "name is empty"),
        ("x", ["serch"], "did you mean 'search'"),
        ("x", [], "has no role"),
    ],
)
def test_a_key_that_cannot_be_is_refused(
    tmp_path: Path, name: str, roles: list[str], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        KeyStore(tmp_path).create(name, roles)
    assert not (tmp_path / "keys.json").exists()


def test_a_key_with_a_filter_only_reads(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only reads"):
        KeyStore(tmp_path).create("x", ["search", "write"], {"author": "x"})


def test_the_commands_create_list_and_revoke(tmp_path: Path) -> None:
    def run(*words: str) -> str:
        done = CliRunner().invoke(app, ["keys", *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    options = ("--name", "web [shop]", "--role", "search", "--role", "clicks")
    token = run("create", str(tmp_path), *options).strip()
    listed = json.loads(run("list", str(tmp_path), "--json"))["keys"]
    assert [(key["name"], key["roles"]) for key in listed] == [("web [shop]", ["search", "clicks"])]
    shown = run("list", str(tmp_path))
    assert "web [shop]" in shown
    assert token not in shown
    assert token.split("-")[1] == listed[0]["key_id"]
    assert "revoked" in run("revoke", str(tmp_path), listed[0]["key_id"])
    assert KeyStore(tmp_path).find(token) is None


def test_a_filter_that_names_no_field_is_refused(cranfield_folder: Path) -> None:
    words = ["keys", "create", str(cranfield_folder), "--name", "x", "--role", "search"]
    done = CliRunner().invoke(app, [*words, "--filter", '{"autor": "x"}'])
    assert done.exit_code == 2
    assert "did you mean 'author'" in done.stderr
    assert not (cranfield_folder / "keys.json").exists()
