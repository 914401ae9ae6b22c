"""Attend streams: many requests in flight on one call, without a thread that reads.

gRPC's synchronous API delivers a response to the thread that asks for it. So whoever waits for an
answer reads for everybody until its own has come, and then hands the reading on: a lone caller
pays for no thread change of ours, and any number of callers may share a stream.

Plain calls (`Session.attend`, `Client.attend_many`) borrow a stream from a pool, so each thread
has one of its own while it waits; opening a stream costs more than a request does.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from alayadb._errors import (
    AlayaError,
    CancelledCallError,
    DeadlineError,
    UnavailableError,
    from_rpc,
)
from alayadb.v1 import session_service_pb2

Results = Sequence[session_service_pb2.AttendResult]

_DEADLINE_RESOLUTION_SECONDS = 0.05


class Pending:
    """A request in flight."""

    __slots__ = ("deadline", "done", "error", "item_count", "results", "timeout")

    def __init__(self, item_count: int) -> None:
        self.item_count = item_count
        self.done = False
        self.results: Results = ()
        self.error: AlayaError | None = None
        self.deadline = float("inf")
        self.timeout = 0.0


class Stream:
    """One Attend call. Thread-safe.

    A stream that failed stays failed: `alive` is False and every request on it has an error.
    """

    def __init__(self, attend: Callable[..., Any], deadlines: Deadlines) -> None:
        self._outbox: queue.SimpleQueue[session_service_pb2.AttendRequest | None] = (
            queue.SimpleQueue()
        )
        self._call = attend(iter(self._outbox.get, None))
        self._deadlines = deadlines
        deadlines.add(self)
        self._condition = threading.Condition()  # guards all below
        self._pending: dict[int, Pending] = {}
        self._last_request_id = 0
        self._reading = False
        self._error: AlayaError | None = None

    @property
    def alive(self) -> bool:
        return self._error is None and bool(self._call.is_active())

    def send(self, request: session_service_pb2.AttendRequest) -> Pending:
        """Numbers the request and sends it; it must not change until it is answered."""
        pending = Pending(len(request.items))
        with self._condition:
            if self._error is not None:
                raise UnavailableError(f"the attend stream has ended: {self._error.message}")
            self._last_request_id += 1
            self._pending[self._last_request_id] = pending
            request.request_id = self._last_request_id
            self._outbox.put(request)
        return pending

    def wait(self, pending: Pending, timeout: float | None) -> Results:
        """The results of a request. A request that takes longer than `timeout` ends the stream."""
        if timeout is not None and not pending.done:
            pending.timeout = timeout
            pending.deadline = time.monotonic() + timeout
            self._deadlines.arm()
        with self._condition:
            while self._reading and not pending.done:
                self._condition.wait()
            if not pending.done:
                self._reading = True
        if not pending.done:
            try:
                while not pending.done:
                    self._read()
            finally:
                with self._condition:
                    self._reading = False
                    self._condition.notify_all()
        if pending.error is not None:
            raise pending.error
        return pending.results

    def expire(self, now: float) -> bool:
        """Gives the stream up if a request is overdue. True while any request has a deadline."""
        with self._condition:
            deadlines = [p.deadline for p in self._pending.values()]
        earliest = min(deadlines, default=float("inf"))
        if earliest <= now:
            self._call.cancel()
        return earliest != float("inf")

    def close(self) -> None:
        self._deadlines.discard(self)
        self._call.cancel()
        self._fail(CancelledCallError("the attend stream was closed"))

    def _read(self) -> None:
        try:
            response = next(self._call)
        except StopIteration:
            self._fail(UnavailableError("the server ended the attend stream"))
            return
        except grpc.RpcError as error:
            self._fail(from_rpc(error))
            return
        with self._condition:
            pending = self._pending.pop(response.request_id, None)
            if pending is None:
                return
            if len(response.results) == pending.item_count:
                pending.results = response.results
            else:
                pending.error = AlayaError(
                    f"{len(response.results)} results for {pending.item_count} items",
                    code=grpc.StatusCode.INTERNAL,
                )
            pending.done = True
            if self._pending:
                self._condition.notify_all()

    def _fail(self, error: AlayaError) -> None:
        now = time.monotonic()
        with self._condition:
            if self._error is None:
                self._error = error
            expired = any(p.deadline <= now for p in self._pending.values())
            for pending in self._pending.values():
                pending.error = _error_of(pending, error, expired, now)
                pending.done = True
            self._pending.clear()
            self._condition.notify_all()
        self._outbox.put(None)  # lets gRPC's sending thread go
        self._deadlines.discard(self)


def _error_of(pending: Pending, error: AlayaError, expired: bool, now: float) -> AlayaError:
    if error.code != grpc.StatusCode.CANCELLED or not expired:
        return type(error)(
            error.message, code=error.code, reason=error.reason, metadata=error.metadata
        )
    if pending.deadline <= now:
        return DeadlineError(f"attend took longer than its timeout of {pending.timeout:g} s")
    return UnavailableError("the attend stream ended: another request on it exceeded its timeout")


class Deadlines:
    """Ends streams with overdue requests, since reading from a gRPC call cannot time out.

    One thread per client, asleep while no request with a deadline is in flight.
    """

    def __init__(self) -> None:
        self._streams: set[Stream] = set()
        self._lock = threading.Lock()  # guards _streams and _thread
        self._thread: threading.Thread | None = None
        self._armed = threading.Event()
        self._closed = threading.Event()

    def add(self, stream: Stream) -> None:
        with self._lock:
            self._streams.add(stream)

    def discard(self, stream: Stream) -> None:
        with self._lock:
            self._streams.discard(stream)

    def arm(self) -> None:
        if self._armed.is_set():
            return
        self._armed.set()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="alayadb-deadlines", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._armed.set()

    def _run(self) -> None:
        while True:
            self._armed.wait()
            if self._closed.wait(_DEADLINE_RESOLUTION_SECONDS):
                return
            # Cleared before looking: a request armed meanwhile is seen now or sets it again.
            self._armed.clear()
            with self._lock:
                streams = tuple(self._streams)
            now = time.monotonic()
            if any([stream.expire(now) for stream in streams]):
                self._armed.set()


class StreamPool:
    """Streams that plain calls borrow, most recently used first. Thread-safe."""

    def __init__(self, attend: Callable[..., Any]) -> None:
        self._attend = attend
        self._deadlines = Deadlines()
        self._lock = threading.Lock()  # guards all below
        self._idle: list[Stream] = []
        self._open: set[Stream] = set()
        self._closed = False

    def open(self) -> Stream:
        """A new stream, the caller's until `discard`."""
        with self._lock:
            if self._closed:
                raise CancelledCallError("the client is closed")
            stream = Stream(self._attend, self._deadlines)
            self._open.add(stream)
            return stream

    def discard(self, stream: Stream) -> None:
        stream.close()
        with self._lock:
            self._open.discard(stream)

    def request(
        self,
        request: session_service_pb2.AttendRequest,
        timeout: float | None,
        idempotent: bool,
    ) -> Results:
        """Sends a request and waits for its results.

        A request that only reads is repeated once, on a new stream, if the connection broke.
        """
        attempts_left = 2 if idempotent else 1
        while True:
            stream = self._take()
            attempts_left -= 1
            healthy = False
            try:
                results = stream.wait(stream.send(request), timeout)
                healthy = True
                return results
            except UnavailableError:
                if attempts_left == 0:
                    raise
            finally:
                if healthy:
                    self._give(stream)
                else:
                    self.discard(stream)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            streams = tuple(self._open)
        for stream in streams:
            self.discard(stream)
        self._deadlines.close()

    def _take(self) -> Stream:
        while True:
            with self._lock:
                stream = self._idle.pop() if self._idle else None
            if stream is None:
                return self.open()
            if stream.alive:
                return stream
            self.discard(stream)

    def _give(self, stream: Stream) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(stream)
