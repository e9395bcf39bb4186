"""The live version, open: a new one takes over while each request keeps the one it began with."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from rankwell.data.errors import NotFound, RankwellError
from rankwell.data.journal import Followed
from rankwell.data.versions import DOCUMENTS, MANIFEST, VERSIONS, VersionStore
from rankwell.indexer.location import Location
from rankwell.indexer.transfer import published_name, pull
from rankwell.ranker.collection import Collection
from rankwell.ranker.opening import open_collection
from rankwell.serving.bounded import Bounded
from rankwell.serving.exchange import bound_filter
from rankwell.serving.logs import say, say_trouble

# A version that would not open is tried again: what was in its way may have been a full disk.
_RETRY_SECONDS = 10.0
_PATIENCE_SECONDS = 5.0


@dataclass(slots=True)
class _Held:
    """An open collection and the number of its users: requests, and `Live` while it is live."""

    collection: Collection
    users: int = 1

    def close(self) -> None:
        """Closes the collection and lets go of it."""
        self.collection.close()
        del self.collection


class Live:
    """The open collection that answers now; safe to use from several threads.

    As a context manager it closes the collection at the end.
    """

    def __init__(
        self,
        collection: Collection,
        told: Callable[[Collection], None] | None = None,
        closed: Callable[[], None] | None = None,
    ) -> None:
        """Takes an open collection over.

        Args:
            collection: what answers first.
            told: told of it, and of each that takes over.
            closed: called when one that answered before is closed.
        """
        self._lock = threading.Lock()
        self._held = _Held(collection)
        self._troubles: dict[str, str] = {}
        self._told = told
        self._closed = closed
        if told is not None:
            told(collection)

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the collection when its last request has ended."""
        self._let_go(self._held)

    @contextlib.contextmanager
    def collection(self) -> Iterator[Collection]:
        """Gives the collection of one request: the same until its end, whatever goes live.

        Where the request's key is bound to a filter, only what that accepts is in it.
        """
        with self._lock:
            held = self._held
            held.users += 1
        within = bound_filter()
        try:
            yield (
                held.collection
                if within is None
                else cast(Collection, Bounded(held.collection, within))
            )
        finally:
            self._let_go(held)

    def state(self) -> list[str | int] | None:
        """Returns what changes whenever an answer could; None where nothing here knows.

        An attached index changes without a sign.
        """
        with self._lock:
            collection = self._held.collection
        if collection.config.attached:
            return None
        manifest = collection.version.manifest
        # a version can be written anew under its name: then its documents are others
        return [manifest.version, manifest.files[DOCUMENTS].sha256, *collection.journal.mark()]

    def swap(self, collection: Collection) -> None:
        """Lets an open collection take over; the one before closes when its last request ends."""
        if self._told is not None:
            self._told(collection)
        with self._lock:
            before, self._held = self._held, _Held(collection)
        self._let_go(before)

    @property
    def troubles(self) -> list[str]:
        """Sentences that say why what should be live is not, and what is worse than hoped."""
        with self._lock:
            return [*self._troubles.values(), *self._held.collection.troubles]

    def report(self, source: str, trouble: str | None) -> None:
        """Keeps what stands in the way of a source, None for nothing; warns of it once."""
        with self._lock:
            known = self._troubles.pop(source, None)
            if trouble is not None:
                self._troubles[source] = trouble
        if trouble not in (None, known):
            say_trouble(str(trouble))

    def _let_go(self, held: _Held) -> None:
        with self._lock:
            held.users -= 1
            unused = held.users == 0
        if unused:
            held.close()
            if self._closed is not None:
                self._closed()


# A version's name, and the inode and time of its manifest: a version can be written anew in place.
_Mark = tuple[str, int, int]


class Follower:
    """Keeps `Live` at the version that the collection's folder says is live."""

    def __init__(self, folder: Path, live: Live) -> None:
        """Starts from the version that is open."""
        self._folder = folder
        self._store = VersionStore(folder)
        self._live = live
        with live.collection() as collection:
            self._served = self._mark(collection.version.name)
        self._failed: _Mark | None = None
        self._retry_at = 0.0

    def look(self) -> None:
        """Opens and warms the live version where another is served, and lets it take over.

        One that cannot be opened leaves the served one as it is, with the reason reported.
        """
        # whatever is wrong with a new version, the service goes on with the one it has
        try:
            name = self._store.current_name()
            if name is None:
                raise NotFound(f"{self._folder} names no live version any more")
            mark = self._mark(name)
            if mark == self._failed and time.monotonic() < self._retry_at:
                return
            if mark != self._served:
                self._failed, self._retry_at = mark, time.monotonic() + _RETRY_SECONDS
                self._live.swap(_warmed(self._folder, name))
                self._served, self._failed = mark, None
                say(f"serving version {name} from now on")
        except Exception as error:
            self._live.report("version", f"the version before keeps serving: {_reason(error)}")
        else:
            self._live.report("version", None)

    def _mark(self, name: str) -> _Mark:
        try:
            manifest = (self._folder / VERSIONS / name / MANIFEST).stat()
        except OSError:
            return name, 0, 0
        return name, manifest.st_ino, manifest.st_mtime_ns


class LocationFollower:
    """Pulls into the collection's folder what a location publishes, whenever that moves."""

    def __init__(self, location: Location, folder: Path) -> None:
        """Starts with a pull.

        Raises:
            RankwellError: nothing could be pulled, and the folder has no version from before.
        """
        self._location = location
        self._folder = folder
        self._seen: str | None = None
        try:
            self._seen = pull(location, folder).version
        except RankwellError as error:
            if not VersionStore(folder).names():
                raise
            say_trouble(f"serving what was pulled before: {error}")
        self._followed = Followed(folder)  # a journal of its own would end all pulls

    def look(self, live: Live) -> None:
        """Pulls where the location names another version than at the last look."""
        try:
            name = published_name(self._location)
            if name != self._seen:
                self._seen = pull(self._location, self._folder).version
        except Exception as error:  # as above: the service goes on
            live.report("location", f"{self._location} is not followed: {_reason(error)}")
        else:
            live.report("location", None)


@contextlib.contextmanager
def repeated(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Runs an action every so many seconds, on a thread of its own."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_PATIENCE_SECONDS)  # a long copy is left to end with the process


def _warmed(folder: Path, name: str) -> Collection:
    collection = open_collection(folder, name)
    try:
        collection.warm()
        collection.watch()
    except BaseException:
        collection.close()
        raise
    return collection


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, RankwellError) else f"{type(error).__name__}: {error}"
