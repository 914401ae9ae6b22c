"""Attention items: from arrays to requests, from results to arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from alayadb._arrays import Array, checked, fill_tensor, from_tensor, show
from alayadb._errors import AlayaError, InvalidArgumentError, from_status
from alayadb._options import (
    Target,
    TokenRange,
    Window,
    fill_target,
    fill_token_range,
    fill_window,
)
from alayadb._stream import Pending, Results, Stream, StreamPool
from alayadb._types import Attention, Model
from alayadb.v1 import session_service_pb2

if TYPE_CHECKING:
    from alayadb._session import Session


@dataclass(frozen=True, eq=False)
class AttendItem:
    """Attention of one layer of one session, for `Client.attend_many` and `AttendStream`.

    The fields are the arguments of `Session.attend`. Without a query the item only appends; its
    answer then has T = 0.
    """

    session: Session
    layer: int
    query: Array | None = None
    key: Array | None = None
    value: Array | None = None
    target: Target | None = None
    window: Window | None = None
    scale: float | None = None
    token_range: TokenRange | None = None
    tail_estimate: bool | None = None
    explain: bool = False


class Batch:
    """Checked items of one request, and what is needed to read their results."""

    def __init__(self, items: Sequence[AttendItem]) -> None:
        if not items:
            raise InvalidArgumentError("0 items: a request needs at least one")
        self.request = session_service_pb2.AttendRequest()
        for item in items:
            _to_wire(item, self.request.items.add())
        self.idempotent = all(item.key is None for item in items)
        self._items = items

    def read(self, results: Results) -> list[Attention | AlayaError]:
        return [_from_wire(item, result) for item, result in zip(self._items, results)]


def _to_wire(item: AttendItem, wire: session_service_pb2.AttendItem) -> None:
    model = item.session.model
    check_layer(item.layer, model)
    if (item.key is None) != (item.value is None):
        raise InvalidArgumentError("key and value: give both or neither")
    if item.query is None and item.key is None:
        raise InvalidArgumentError("query, key and value are all missing: nothing to do")
    wire.session_id = item.session.session_id
    wire.layer = item.layer
    query = key = None
    if item.query is not None:
        query = check_query(item.query, model)
        fill_tensor(query, wire.query)
    if item.key is not None:
        key, value = check_kv(item.key, item.value, model)
        if query is not None and len(query) != len(key):
            raise InvalidArgumentError(
                f"query shape {show(query.shape)} and key shape {show(key.shape)}: "
                "both need the same number of tokens"
            )
        fill_tensor(key, wire.key)
        fill_tensor(value, wire.value)
    options = wire.options
    fill_target(item.target, options)
    if item.window is not None:
        fill_window(item.window, options.window)
    if item.scale is not None:
        options.scale = item.scale
    if item.token_range is not None:
        fill_token_range(item.token_range, options.token_range)
    if item.tail_estimate is not None:
        options.tail_estimate = item.tail_estimate
    if item.explain:
        options.explain = True


def _from_wire(
    item: AttendItem, result: session_service_pb2.AttendResult
) -> Attention | AlayaError:
    if result.status.code != 0:
        return from_status(result.status)
    if item.query is None:
        model = item.session.model
        output: Array = np.empty((0, model.num_query_heads, model.head_dim), model.dtype)
        log_sum_exp: Array = np.empty((0, model.num_query_heads), np.float32)
    else:
        output = from_tensor(result.output)
        log_sum_exp = from_tensor(result.log_sum_exp)
        if np.ndim(item.query) == 2:
            output, log_sum_exp = output[0], log_sum_exp[0]
    return Attention(output, log_sum_exp, result.stats)


def check_layer(layer: int, model: Model) -> None:
    if not 0 <= layer < model.num_layers:
        raise InvalidArgumentError(
            f"layer {layer}: model '{model.name}' has layers 0..{model.num_layers - 1}"
        )


def check_query(query: Any, model: Model, what: str = "query") -> Array:
    heads = (model.num_query_heads, "query heads")
    return _not_empty(what, checked(what, query, heads, model.head_dim, None))


def check_kv(key: Any, value: Any, model: Model) -> tuple[Array, Array]:
    heads = (model.num_kv_heads, "KV heads")
    key = _not_empty("key", checked("key", key, heads, model.head_dim, model.dtype))
    value = checked("value", value, heads, model.head_dim, model.dtype)
    if len(key) != len(value):
        raise InvalidArgumentError(
            f"key shape {show(key.shape)} and value shape {show(value.shape)}: "
            "both need the same number of tokens"
        )
    return key, value


def _not_empty(what: str, array: Array) -> Array:
    if len(array) == 0:
        raise InvalidArgumentError(f"{what} shape {show(array.shape)}: 0 tokens")
    return array


@overload
def settle(
    answers: list[Attention | AlayaError], return_exceptions: Literal[False]
) -> list[Attention]: ...
@overload
def settle(
    answers: list[Attention | AlayaError], return_exceptions: bool
) -> list[Attention] | list[Attention | AlayaError]: ...
def settle(
    answers: list[Attention | AlayaError], return_exceptions: bool
) -> list[Attention] | list[Attention | AlayaError]:
    """The answers, or, unless `return_exceptions`, the first error raised."""
    if return_exceptions:
        return answers
    attentions: list[Attention] = []
    for answer in answers:
        if isinstance(answer, AlayaError):
            raise answer
        attentions.append(answer)
    return attentions


class PendingAttend:
    """A request of an `AttendStream` that is in flight."""

    def __init__(self, stream: Stream, pending: Pending, batch: Batch, timeout: float | None):
        self._stream = stream
        self._pending = pending
        self._batch = batch
        self._timeout = timeout

    @property
    def done(self) -> bool:
        """True once the answer has been read, by this or another waiting thread."""
        return self._pending.done

    @overload
    def result(
        self, *, timeout: float | None = None, return_exceptions: Literal[False] = False
    ) -> list[Attention]: ...
    @overload
    def result(
        self, *, timeout: float | None = None, return_exceptions: bool
    ) -> list[Attention] | list[Attention | AlayaError]: ...
    def result(
        self, *, timeout: float | None = None, return_exceptions: bool = False
    ) -> list[Attention] | list[Attention | AlayaError]:
        """Waits for the answer: one entry per item, in item order.

        A failed item fails alone. With `return_exceptions` its error stands in its place;
        otherwise the first error is raised.

        Errors: DeadlineError after `timeout` seconds (None: the client's); that ends the stream.
        """
        timeout = self._timeout if timeout is None else timeout
        results = self._stream.wait(self._pending, timeout)
        return settle(self._batch.read(results), return_exceptions)


class AttendStream:
    """A pipeline of attention requests; from `Client.attend_stream`. Thread-safe.

    Answers of one session come in the order of its requests; those of other sessions may overtake
    them, so results may be asked for in any order. Use as a context manager.
    """

    def __init__(self, pool: StreamPool, timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._stream = pool.open()

    def submit(self, items: AttendItem | Sequence[AttendItem]) -> PendingAttend:
        """Sends one request of one or more items without waiting for its answer.

        Errors: InvalidArgumentError for what `Session.attend` refuses locally, then nothing is
          sent; UnavailableError if the stream has ended.
        """
        batch = Batch([items] if isinstance(items, AttendItem) else items)
        pending = self._stream.send(batch.request)
        return PendingAttend(self._stream, pending, batch, self._timeout)

    def close(self) -> None:
        """Gives up what is in flight."""
        self._pool.discard(self._stream)

    def __enter__(self) -> AttendStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
