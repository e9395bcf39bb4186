"""API keys: who may do what, kept as hashes in keys.json beside rankwell.toml.

A key is `rw-ID-SECRET`. The secret has 256 random bits, so that one SHA-256 of it is as good as a
slow hash. The file is read again whenever it changes: a key that was revoked stops at once, in
every process.
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rankwell.data.durable import replace_text
from rankwell.data.errors import InputError, NotFound, RankwellError, nearest

KEYS_FILE = "keys.json"
_LOCK = ".keys.lock"
_FORMAT_VERSION = 1
_TOKEN = re.compile(r"rw-([0-9a-f]{8})-([A-Za-z0-9_-]{43})")

# What a role may do; admin may do all of it.
ROLES = {
    "search": "search, read documents, rerank, embed",
    "clicks": "report impressions and clicks",
    "write": "add, replace and delete documents",
    "admin": "all of it, and read metrics and the operators' page",
}


class DamagedKeys(RankwellError):
    """The file of keys cannot be read; nobody is let in until it can."""

    exit_code = 2
    http_status = 503


@dataclass(frozen=True, slots=True)
class Key:
    """One key, without its secret.

    Attributes:
        key_id: names it in lists and logs.
        name: what people call it.
        roles: what it may do; see `ROLES`.
        filter: a filter that every request under it carries, None where it sees all documents.
        digest: SHA-256 of the whole key, in hexadecimal digits.
        created_at: in UTC.
    """

    key_id: str
    name: str
    roles: tuple[str, ...]
    filter: Mapping[str, Any] | None
    digest: str
    created_at: str

    def may(self, role: str) -> bool:
        """Returns whether the key has a role, or is an admin's."""
        return role in self.roles or "admin" in self.roles


class KeyStore:
    """The keys of one collection; safe to use from several threads and processes."""

    def __init__(self, folder: Path, *, required: bool = False) -> None:
        """Names the keys of a collection's folder.

        Args:
            folder: the collection's.
            required: whether requests need a key also where there is no file of keys.
        """
        self.path = folder / KEYS_FILE
        self._lock = threading.Lock()
        self._mark: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}
        self._required = required

    @property
    def required(self) -> bool:
        """Whether requests need a key: from the moment on that there is a file of keys.

        A file that goes away does not open what it closed.
        """
        self._refresh()
        return self._required

    def create(
        self, name: str, roles: Sequence[str], filter_: Mapping[str, Any] | None = None
    ) -> str:
        """Makes a key and returns it; what is kept does not give it away again.

        Raises:
            InputError: the name is empty, or a role is unknown.
        """
        if not name.strip():
            raise InputError("the key's name is empty; say who or what will use it")
        if not roles:
            raise InputError(f"the key has no role; {nearest('', ROLES)}")
        for role in roles:
            if role not in ROLES:
                raise InputError(f"'{role}' is no role; {nearest(role, ROLES)}")
        if filter_ and not {"write", "admin"}.isdisjoint(roles):
            raise InputError("a key with a filter only reads; leave out the roles write and admin")
        with self._writing() as keys:
            key_id = secrets.token_hex(4)
            token = f"rw-{key_id}-{secrets.token_urlsafe(32)}"
            now = datetime.now(UTC).isoformat(timespec="seconds")
            keys[key_id] = Key(key_id, name, tuple(roles), filter_, _digest(token), now)
        return token

    def keys(self) -> list[Key]:
        """Returns all keys, oldest first."""
        self._refresh()
        return list(self._keys.values())

    def revoke(self, key_id: str) -> Key:
        """Removes a key; requests under it are refused from now on.

        Raises:
            NotFound: there is no such key.
        """
        with self._writing() as keys:
            if key_id not in keys:
                raise NotFound(
                    f"there is no key '{key_id}'; rankwell keys list names those that are"
                )
            return keys.pop(key_id)

    def find(self, token: str) -> Key | None:
        """Returns the key that a secret belongs to, None for none; in constant time."""
        self._refresh()
        match = _TOKEN.fullmatch(token)
        key = self._keys.get(match[1]) if match else None
        known = key.digest if key else _digest("")
        return key if hmac.compare_digest(_digest(token), known) else None

    def _refresh(self) -> None:
        """Reads the file again where it has changed.

        Raises:
            DamagedKeys: it cannot be read.
        """
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            self._mark, self._keys = None, {}
            return
        mark = now.st_ino, now.st_mtime_ns, now.st_size
        if mark != self._mark:
            with self._lock:
                self._required = True
                self._keys = self._read()
                self._mark = mark

    def _read(self) -> dict[str, Key]:
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            if stored["format_version"] != _FORMAT_VERSION:
                raise ValueError(f"its format is {stored['format_version']}, here 1")
            keys = [Key(**{**key, "roles": tuple(key["roles"])}) for key in stored["keys"]]
            return {key.key_id: key for key in keys}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedKeys(
                f"{self.path} cannot be used ({error}), so nobody is let in; put a copy back, or "
                "move it away and create the keys anew"
            ) from None

    @contextmanager
    def _writing(self) -> Iterator[dict[str, Key]]:
        """Gives the keys as they are now, and writes what has become of them."""
        if not self.path.parent.is_dir():
            raise InputError(f"{self.path.parent} is not a folder")
        with (self.path.parent / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self._read() if self.path.exists() else {}
            yield keys
            stored = {"format_version": _FORMAT_VERSION, "keys": [asdict(k) for k in keys.values()]}
            replace_text(self.path, json.dumps(stored, indent=1) + "\n", mode=0o600)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
