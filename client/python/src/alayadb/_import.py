"""Streaming a context to the server: in pieces of at most 1 MiB, one layer's arrays at a time."""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc
import numpy as np

from alayadb._arrays import Array, checked, fill_tensor, show
from alayadb._attend import check_query
from alayadb._errors import InvalidArgumentError, raise_rpc
from alayadb._types import Model
from alayadb.v1 import context_service_pb2

#: One array [L, T, H, D]; or per layer an array [T, H, D] from a sequence, an iterable, or a
#: function of the layer.
LayerArrays: TypeAlias = Array | Sequence[Array] | Iterable[Array] | Callable[[int], Array]

#: False, True (a tqdm bar, if tqdm is installed), or a function of (done_bytes, total_bytes).
Progress: TypeAlias = bool | Callable[[int, int], None]

CHUNK_BYTES_MAX = 1 << 20
# Messages that wait to be sent: enough to keep the connection busy, little to hold in memory.
_QUEUE_LENGTH = 2


def layers_of(what: str, source: LayerArrays, num_layers: int) -> Iterator[Array]:
    """The arrays of layers 0 .. num_layers - 1, each asked for when it is needed."""
    if callable(source):
        for layer in range(num_layers):
            yield source(layer)
        return
    if isinstance(source, np.ndarray) and source.ndim != 4:
        raise InvalidArgumentError(
            f"{what} shape {show(source.shape)}: expected [L,T,H,D] or one [T,H,D] per layer"
        )
    if isinstance(source, Sequence | np.ndarray) and len(source) != num_layers:
        raise InvalidArgumentError(f"{what}: {len(source)} layers, the model has {num_layers}")
    count = 0
    for array in source:
        if count == num_layers:
            raise InvalidArgumentError(f"{what}: more layers than the model's {num_layers}")
        count += 1
        yield array
    if count != num_layers:
        raise InvalidArgumentError(f"{what}: {count} layers, the model has {num_layers}")


def chunks(
    model: Model,
    token_count: int,
    token_begin: int,
    keys: LayerArrays,
    values: LayerArrays,
    queries: LayerArrays | None,
) -> Iterator[context_service_pb2.ImportContextRequest]:
    """Every layer's tokens from `token_begin` on, cut so that no chunk exceeds CHUNK_BYTES_MAX.

    A layer's sampled queries are spread over its chunks.
    """
    layers = zip(
        range(model.num_layers),
        layers_of("keys", keys, model.num_layers),
        layers_of("values", values, model.num_layers),
        layers_of("queries", queries, model.num_layers)
        if queries is not None
        else iter([None] * model.num_layers),
        strict=True,
    )
    for layer, key, value, query in layers:
        key = _whole_layer("keys", layer, key, model, token_count)[token_begin:]
        value = _whole_layer("values", layer, value, model, token_count)[token_begin:]
        if query is not None:
            query = check_query(query, model, f"queries of layer {layer}")
        rows = _rows_per_chunk(key, query)
        for begin in range(0, len(key), rows):
            request = context_service_pb2.ImportContextRequest()
            chunk = request.chunk
            chunk.layer = layer
            chunk.token_begin = token_begin + begin
            fill_tensor(key[begin : begin + rows], chunk.key)
            fill_tensor(value[begin : begin + rows], chunk.value)
            if query is not None:
                first, last = (
                    len(query) * min(token, len(key)) // len(key) for token in (begin, begin + rows)
                )
                if last > first:
                    fill_tensor(query[first:last], chunk.query)
            yield request


def _rows_per_chunk(key: Array, query: Array | None) -> int:
    row_bytes: int = 2 * key[0].nbytes
    room = CHUNK_BYTES_MAX
    if query is not None:
        # A chunk's share of the queries rounds up to one more than the average.
        row_bytes += math.ceil(query.nbytes / len(key))
        room -= query[0].nbytes
    return max(1, room // row_bytes)


def _whole_layer(what: str, layer: int, array: Any, model: Model, token_count: int) -> Array:
    what = f"{what} of layer {layer}"
    heads = (model.num_kv_heads, "KV heads")
    if np.ndim(array) != 3:
        raise InvalidArgumentError(f"{what} shape {show(np.shape(array))}: expected [T,H,D]")
    result = checked(what, array, heads, model.head_dim, model.dtype)
    if len(result) != token_count:
        raise InvalidArgumentError(
            f"{what} shape {show(result.shape)}: there are {token_count} tokens"
        )
    return result


def send(
    method: Any,
    messages: Iterable[context_service_pb2.ImportContextRequest],
    timeout: float | None,
    on_sent: Callable[[context_service_pb2.ImportContextRequest], None],
) -> context_service_pb2.ImportContextResponse:
    """Streams `messages` and returns the answer.

    The messages are made in the calling thread, so what the caller's arrays raise comes out as it
    is; nothing is stored then.
    """
    outbox: queue.Queue[context_service_pb2.ImportContextRequest | None] = queue.Queue(
        _QUEUE_LENGTH
    )
    call = method.future(iter(outbox.get, None), timeout=timeout)

    def put(message: context_service_pb2.ImportContextRequest | None) -> bool:
        """False if the call has ended: then its result says why."""
        while not call.done():
            try:
                outbox.put(message, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    try:
        for message in messages:
            if not put(message):
                break
            on_sent(message)
        put(None)
        answer: context_service_pb2.ImportContextResponse = call.result()
        return answer
    except grpc.RpcError as error:
        raise_rpc(error)
    finally:
        call.cancel()
        # Lets gRPC's sending thread go, wherever it waits.
        while not outbox.empty():
            outbox.get_nowait()
        outbox.put(None)


@contextmanager
def progress_of(progress: Progress, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """A function that is told how many more bytes were sent."""
    done_bytes = 0

    def tell(byte_count: int) -> None:
        nonlocal done_bytes
        done_bytes += byte_count
        if callable(progress):
            progress(done_bytes, total_bytes)

    if progress is not True:
        yield tell
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield tell
        return
    with tqdm(total=total_bytes, unit="B", unit_scale=True, unit_divisor=1024) as bar:
        yield bar.update
