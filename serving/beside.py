"""Versions that are not live, opened when somebody looks at them beside the one that is."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rankwell.data.errors import InputError, NotFound
from rankwell.data.versions import MANIFEST, VersionStore
from rankwell.ranker.collection import Collection
from rankwell.ranker.opening import open_collection
from rankwell.serving.following import Live

_MOST_OPEN = 2

# A version's name, and the inode and time of its manifest: a version can be written anew in place.
_Mark = tuple[str, int, int]


class Beside:
    """The live version and, for those who name them, others; safe to use from several threads."""

    def __init__(self, live: Live) -> None:
        """Opens nothing but what is live already."""
        self._live = live
        self._lock = threading.Lock()
        self._others: OrderedDict[_Mark, Live] = OrderedDict()  # the last used one last

    @contextmanager
    def collection(self, version: str | None = None) -> Iterator[Collection]:
        """Gives a version's collection until the end of a request, the live one without a name.

        The first look at another version waits until it is open; of these the last two stay open.

        Raises:
            InputError: there is no such version.
        """
        with ExitStack() as stack:
            collection = stack.enter_context(self._live.collection())
            if version and version != collection.version.name:
                collection = self._other(collection.folder, version, stack)
            yield collection

    def _other(self, folder: Path, name: str, stack: ExitStack) -> Collection:
        try:
            found = VersionStore(folder).open(name)
        except NotFound as error:
            raise InputError(str(error), field="version") from None
        stat = (found.folder / MANIFEST).stat()
        mark = (name, stat.st_ino, stat.st_mtime_ns)
        with self._lock:
            if mark not in self._others:
                opened = open_collection(folder, name)
                opened.warm()
                self._others[mark] = Live(opened)
            self._others.move_to_end(mark)
            collection = stack.enter_context(self._others[mark].collection())
            while len(self._others) > _MOST_OPEN:
                _, unused = self._others.popitem(last=False)
                unused.__exit__(None, None, None)  # it closes with its last request
        return collection
