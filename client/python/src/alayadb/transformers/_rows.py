"""The server's side of a batch: one database session per row, and the stream that they share."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from alayadb import AlayaError, AttendItem, Client, PendingAttend
from alayadb import Session as Row

#: What may wait for its answer; beyond it the model waits for the server.
_UNANSWERED_MAX = 32

_open: weakref.WeakSet[Rows] = weakref.WeakSet()


class Rows:
    """Sessions of one client. Calls go out in order; `ask` and `send` do not wait for answers.

    Life: constructed open; `close` ends the sessions on the server.
    """

    def __init__(self, db: Client, rows: Sequence[Row]) -> None:
        self._db = db
        self._rows = list(rows)
        self._stream = db.attend_stream()
        self._unanswered: deque[PendingAttend] = deque()
        _open.add(self)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]

    def ask(self, items: Sequence[AttendItem]) -> PendingAttend:
        """Sends items of one request; the caller takes the answer."""
        return self._stream.submit(items)

    def send(self, item: AttendItem) -> None:
        """Sends an item whose answer nobody needs; `settle` raises if it failed."""
        self._unanswered.append(self._stream.submit(item))
        if len(self._unanswered) > _UNANSWERED_MAX:
            self._unanswered.popleft().result()

    def settle(self) -> None:
        """Waits until all that was sent has taken effect; raises the first error."""
        error: AlayaError | None = None
        while self._unanswered:
            try:
                self._unanswered.popleft().result()
            except AlayaError as next_error:
                error = error or next_error
        if error is not None:
            raise error

    def truncate(self, counts: Iterable[int]) -> None:
        """Keeps the first `counts[i]` tokens of row i. Requests that failed are forgotten."""
        with suppress(AlayaError):
            self.settle()
        for row, count in zip(self._rows, counts, strict=True):
            row.truncate(count)

    def forked(self) -> Rows:
        """As many new sessions with the same tokens."""
        self.settle()
        return Rows(self._db, all_or_none(row.fork for row in self._rows))

    def select(self, indices: Sequence[int]) -> None:
        """Makes row i what row `indices[i]` was; rows that are not named are closed."""
        self.settle()
        old = self._rows
        first = [indices.index(i) == place for place, i in enumerate(indices)]
        copied = [i for place, i in enumerate(indices) if not first[place]]
        forks = iter(all_or_none(old[i].fork for i in copied))
        self._rows = [old[i] if first[place] else next(forks) for place, i in enumerate(indices)]
        for i in set(range(len(old))) - set(indices):
            old[i].close()

    def close(self) -> None:
        """Frees the sessions, on a server that is still there."""
        # gRPC raises ValueError if the client is closed at the same moment.
        with suppress(AlayaError, ValueError):
            self._stream.close()
        for row in self._rows:
            with suppress(AlayaError, ValueError):
                row.close()
        self._rows = []

    def close_soon(self) -> None:
        """As `close`, for finalizers: these run in any thread, whatever locks it holds."""
        with suppress(RuntimeError):  # the interpreter is ending: `_close_all` does it
            threading.Thread(target=self.close, name="alayadb-close", daemon=True).start()


def all_or_none(makers: Iterable[Callable[[], Row]]) -> list[Row]:
    """The sessions that these calls open; if one fails, none is left open."""
    made: list[Row] = []
    try:
        for make in makers:
            made.append(make())
    except BaseException:
        for row in made:
            with suppress(AlayaError):
                row.close()
        raise
    return made


@atexit.register
def _close_all() -> None:
    for rows in list(_open):
        rows.close()
