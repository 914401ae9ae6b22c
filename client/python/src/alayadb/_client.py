"""The client: everything that is not a session's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, overload

import grpc
import numpy as np

from alayadb import _import
from alayadb._arrays import (
    Array,
    Duration,
    Tokens,
    parse_dtype,
    to_tensor,
    to_timedelta,
    token_list,
    view_of_tensor,
)
from alayadb._attend import (
    AttendItem,
    AttendStream,
    Batch,
    check_layer,
    check_query,
    settle,
)
from alayadb._channel import Channel
from alayadb._errors import AlayaError, InvalidArgumentError, NotFoundError
from alayadb._import import LayerArrays, Progress
from alayadb._options import Dipr, TokenRange, TopK, fill_dipr, fill_token_range, fill_top_k
from alayadb._session import Session
from alayadb._stream import StreamPool
from alayadb._tls import Tls
from alayadb._types import (
    AttendStats,
    Attention,
    Context,
    Hits,
    ImportResult,
    KvChunk,
    Match,
    Model,
    SearchResult,
    ServerInfo,
    ServerStats,
    SessionInfo,
)
from alayadb.v1 import (
    admin_service_pb2,
    attention_pb2,
    context_service_pb2,
    session_service_pb2,
)


def connect(
    address: str = "127.0.0.1:50600",
    *,
    timeout: float | None = 60.0,
    connect_timeout: float = 10.0,
    tls: Tls | bool = False,
    api_key: str | None = None,
    credentials: grpc.ChannelCredentials | None = None,
) -> Client:
    """Connects to a server.

    Args:
      address: "host:port" or "unix:/path/of/the/socket".
      timeout: seconds that a call may take, unless it says otherwise; None: any time. Calls that
        move whole contexts (import, read, backup) have no limit unless given one.
      connect_timeout: seconds to wait for the server, which may be starting.
      tls: True trusts the system's authorities; `Tls` names files. False: plain text.
      api_key: sent with every call; the server's operator makes it (`alayactl key generate`).
      credentials: instead of `tls`, for what that cannot say.

    Returns:
      A client; use it as a context manager. Make it after forking, not before.

    Errors: UnavailableError if no server answers in time; PermissionDeniedError if the server
      wants another key; OSError if a file of `tls` cannot be read.
    """
    files = Tls() if tls is True else tls or None
    if credentials is None and files is not None:
        credentials = files.credentials()
    channel = Channel(
        address,
        timeout=timeout,
        credentials=credentials,
        server_name=files.server_name if files is not None else None,
        api_key=api_key,
    )
    try:
        channel.wait_until_ready(connect_timeout)
    except BaseException:
        channel.close()
        raise
    return Client(channel)


class Client:
    """A connection to one server; from `connect`. Threads: any number may share it.

    A call that fails raises a subclass of `AlayaError`. After the server was away the next call
    finds it again; calls that may safely run twice are repeated for some 3 s before they give up.
    Shapes use T tokens, L layers, Hq query heads, Hkv KV heads and D = head_dim.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._streams = StreamPool(channel.sessions.Attend)
        self._models: dict[str, Model] = {}
        self._models_lock = threading.Lock()

    def close(self) -> None:
        """Ends the connection; calls in flight fail. Open sessions stay open on the server."""
        self._streams.close()
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._channel.address!r})"

    # Models and the server.

    def register_model(
        self,
        name: str,
        *,
        num_layers: int,
        num_query_heads: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: Any = "bfloat16",
    ) -> Model:
        """Makes a model known; the same name and shape again is fine. Durable when it returns.

        `dtype` is that of keys and values: "float32", "float16", "bfloat16", or a numpy dtype.

        Errors: AlreadyExistsError if the name stands for another shape; InvalidArgumentError.
        """
        heads = (num_query_heads, num_kv_heads)
        model = Model(name, num_layers, *heads, head_dim, parse_dtype(dtype))
        try:
            request = admin_service_pb2.RegisterModelRequest(model=model._to())
        except ValueError as error:
            raise InvalidArgumentError(f"model '{name}': {error}") from None
        method = self._channel.admin.RegisterModel
        self._channel.call(method, request, admin_service_pb2.RegisterModelResponse)
        with self._models_lock:
            self._models[name] = model
        return model

    def models(self) -> list[Model]:
        """All registered models, by name."""
        request = admin_service_pb2.ListModelsRequest()
        method = self._channel.admin.ListModels
        response = self._channel.call(method, request, admin_service_pb2.ListModelsResponse)
        models = [Model._from(m) for m in response.models]
        with self._models_lock:
            self._models = {m.name: m for m in models}
        return models

    def model(self, name: str) -> Model:
        """One model. Errors: NotFoundError."""
        with self._models_lock:
            found = self._models.get(name)
        if found is None:
            found = next((m for m in self.models() if m.name == name), None)
        if found is None:
            raise NotFoundError(f"model '{name}' is not registered")
        return found

    def info(self) -> ServerInfo:
        """Version, limits and devices of the server."""
        request = admin_service_pb2.GetServerInfoRequest()
        method = self._channel.admin.GetServerInfo
        return ServerInfo._from(
            self._channel.call(method, request, admin_service_pb2.GetServerInfoResponse)
        )

    def stats(self) -> ServerStats:
        """What the server holds right now."""
        request = admin_service_pb2.GetStatsRequest()
        method = self._channel.admin.GetStats
        return ServerStats._from(
            self._channel.call(method, request, admin_service_pb2.GetStatsResponse)
        )

    # Contexts.

    def import_context(
        self,
        model: str,
        tokens: Tokens,
        keys: LayerArrays,
        values: LayerArrays,
        *,
        context_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        ttl: Duration | None = None,
        queries: LayerArrays | None = None,
        progress: Progress = False,
        timeout: float | None = None,
    ) -> ImportResult:
        """Stores a context: all or nothing, durable when this returns.

        Tokens that are stored already, as a prefix of any context, are not sent again. The rest
        goes out in pieces of at most 1 MiB; nothing is copied as a whole.

        Args:
          tokens: T token ids.
          keys, values: one array [L, T, Hkv, D]; or one [T, Hkv, D] per layer, as a sequence, an
            iterable, or a function of the layer (called when that layer is due). In the model's
            dtype, keys after RoPE.
          context_id: 1 to 128 characters of [A-Za-z0-9._-]. None: the server makes one.
          labels: for `contexts` to filter by.
          ttl: seconds or timedelta until the context expires. None: never.
          queries: sampled queries per layer, [T', Hq, D], after RoPE, by rising position. Indexes
            are then made for queries like these and answer faster: a few thousand positions from
            all over the text, the last ones above all.
          progress: True shows a bar if tqdm is installed; or a function of
            (done_bytes, total_bytes).

        Errors: NotFoundError for the model; InvalidArgumentError; AlreadyExistsError for a
          context_id in use; ResourceExhaustedError; what `keys` and `values` raise.
        """
        shape = self.model(model)
        ids = token_list(tokens)
        header = context_service_pb2.ImportContextRequest.Header(
            model=model,
            tokens=ids,
            context_id=context_id,
            labels=labels,
            ttl=None if ttl is None else to_timedelta(ttl),
        )
        skipped = self.match(model, ids).tokens if ids else 0
        row_bytes = 2 * shape.num_kv_heads * shape.head_dim * shape.dtype.itemsize
        total_bytes = shape.num_layers * (len(ids) - skipped) * row_bytes

        def messages() -> Iterator[context_service_pb2.ImportContextRequest]:
            yield context_service_pb2.ImportContextRequest(header=header)
            if skipped == len(ids):
                return
            yield from _import.chunks(shape, len(ids), skipped, keys, values, queries)

        with _import.progress_of(progress, total_bytes) as tell:

            def on_sent(sent: context_service_pb2.ImportContextRequest) -> None:
                if sent.HasField("chunk"):
                    tell(sent.chunk.key.shape[0] * row_bytes)

            method = self._channel.contexts.ImportContext
            response = _import.send(method, messages(), timeout, on_sent)
        return ImportResult(response.context_id, response.reused_tokens, response.stored_bytes)

    def match(self, model: str, tokens: Tokens) -> Match:
        """The stored context that shares the longest prefix with the tokens."""
        request = context_service_pb2.MatchContextRequest(model=model, tokens=token_list(tokens))
        response = self._channel.call(
            self._channel.contexts.MatchContext, request, context_service_pb2.MatchContextResponse
        )
        return Match(response.context_id, response.matched_tokens)

    def context(self, context_id: str) -> Context:
        """One context. Errors: NotFoundError."""
        return Context._from(self._get_context(context_id, include_tokens=False).context)

    def context_tokens(self, context_id: str) -> Array:
        """The tokens of a context, uint32. Errors: NotFoundError."""
        return np.array(self._get_context(context_id, include_tokens=True).tokens, dtype=np.uint32)

    def _get_context(
        self, context_id: str, include_tokens: bool
    ) -> context_service_pb2.GetContextResponse:
        request = context_service_pb2.GetContextRequest(
            context_id=context_id, include_tokens=include_tokens
        )
        method = self._channel.contexts.GetContext
        return self._channel.call(method, request, context_service_pb2.GetContextResponse)

    def contexts(
        self,
        model: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        page_size: int = 100,
    ) -> Iterator[Context]:
        """All contexts, or those of a model that carry all `labels`, newest first.

        Pages are fetched as the iterator gets to them.
        """
        page_token = ""
        while True:
            request = context_service_pb2.ListContextsRequest(
                model=model, labels=labels, page_size=page_size, page_token=page_token
            )
            page = self._channel.call(
                self._channel.contexts.ListContexts,
                request,
                context_service_pb2.ListContextsResponse,
            )
            yield from map(Context._from, page.contexts)
            page_token = page.next_page_token
            if not page_token:
                return

    def update_context(
        self,
        context_id: str,
        *,
        pinned: bool | None = None,
        ttl: Duration | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Context:
        """Changes what is given: pin, expiry (seconds from now; 0 removes it), all labels."""
        request = context_service_pb2.UpdateContextRequest(context_id=context_id)
        if pinned is not None:
            request.pinned = pinned
        if ttl is not None:
            request.ttl.FromTimedelta(to_timedelta(ttl))
        if labels is not None:
            request.labels.labels.update(labels)
            request.labels.SetInParent()
        method = self._channel.contexts.UpdateContext
        response = self._channel.call(method, request, context_service_pb2.UpdateContextResponse)
        return Context._from(response.context)

    def delete_context(self, context_id: str) -> int:
        """Deletes a context; returns the bytes that no other context shares.

        Sessions that are open on it go on. Errors: NotFoundError.
        """
        request = context_service_pb2.DeleteContextRequest(context_id=context_id)
        method = self._channel.contexts.DeleteContext
        response = self._channel.call(method, request, context_service_pb2.DeleteContextResponse)
        return response.freed_bytes

    def read_context(
        self,
        context_id: str,
        *,
        layers: Sequence[int] | None = None,
        token_range: TokenRange | None = None,
        timeout: float | None = None,
    ) -> Iterator[KvChunk]:
        """Streams stored keys and values back in pieces of about 2 MiB.

        Layers come in the order given (None: all, rising), tokens rising. Dropping the iterator
        ends the stream. Errors, while iterating: NotFoundError, InvalidArgumentError,
        DataLossError.
        """
        request = context_service_pb2.ReadContextRequest(context_id=context_id, layers=layers)
        if token_range is not None:
            fill_token_range(token_range, request.token_range)
        responses = self._channel.stream(
            self._channel.contexts.ReadContext,
            request,
            context_service_pb2.ReadContextResponse,
            timeout,
        )
        for r in responses:
            yield KvChunk(r.layer, r.token_begin, view_of_tensor(r.key), view_of_tensor(r.value))

    def load_context(
        self,
        context_id: str,
        *,
        layers: Sequence[int] | None = None,
        token_range: TokenRange | None = None,
        timeout: float | None = None,
    ) -> tuple[Array, Array]:
        """Keys and values of a context as two arrays [L, T, Hkv, D]; see `read_context`."""
        context = self.context(context_id)
        model = self.model(context.model)
        chosen = list(range(model.num_layers) if layers is None else layers)
        if len(set(chosen)) != len(chosen):
            raise InvalidArgumentError(f"layers {chosen}: a layer stands there twice")
        begin, end = 0, context.token_count
        if token_range is not None:
            wire = attention_pb2.TokenRange()
            fill_token_range(token_range, wire)
            begin, end = wire.begin, min(wire.end, end) or end
        shape = (len(chosen), max(0, end - begin), model.num_kv_heads, model.head_dim)
        keys, values = np.empty(shape, model.dtype), np.empty(shape, model.dtype)
        missing = shape[0] * shape[1]
        place = {layer: i for i, layer in enumerate(chosen)}
        for chunk in self.read_context(
            context_id, layers=layers, token_range=token_range, timeout=timeout
        ):
            first = chunk.token_begin - begin
            rows = slice(first, first + len(chunk.key))
            keys[place[chunk.layer], rows] = chunk.key
            values[place[chunk.layer], rows] = chunk.value
            missing -= len(chunk.key)
        if missing != 0:
            raise AlayaError(
                f"context '{context_id}': {missing} rows too few arrived",
                code=grpc.StatusCode.INTERNAL,
            )
        return keys, values

    def search(
        self,
        context_id: str,
        layer: int,
        query: Array,
        *,
        target: Dipr | TopK = Dipr(),
        token_range: TokenRange | None = None,
        scale: float | None = None,
    ) -> SearchResult:
        """Which stored tokens score highest for query vectors; no attention is computed.

        Args:
          query: [T, Hq, D] (T may be left out), any of the three dtypes, after RoPE.
          scale: factor from score to logit, for Dipr. None: 1 / sqrt(D).
        """
        model = self.model(self.context(context_id).model)
        check_layer(layer, model)
        query = check_query(query, model)
        request = context_service_pb2.SearchContextRequest(
            context_id=context_id,
            layer=layer,
            query=to_tensor(query),
            scale=scale,
        )
        if token_range is not None:
            fill_token_range(token_range, request.token_range)
        if isinstance(target, TopK):
            fill_top_k(target, request.top_k)
        elif isinstance(target, Dipr):
            fill_dipr(target, request.dipr)
        else:
            raise InvalidArgumentError(f"target {target!r}: search takes Dipr or TopK")
        method = self._channel.contexts.SearchContext
        response = self._channel.call(method, request, context_service_pb2.SearchContextResponse)
        hits = [
            Hits(np.array(h.tokens, np.uint64), np.array(h.scores, np.float32))
            for h in response.heads
        ]
        count = model.num_query_heads
        rows = [hits[i : i + count] for i in range(0, len(hits), count)]
        return SearchResult(rows, AttendStats._from(response.stats, (len(query), count)))

    # Sessions.

    def create_session(
        self,
        model: str,
        tokens: Tokens | None = None,
        *,
        context_id: str | None = None,
        reuse_limit: int | None = None,
    ) -> Session:
        """Opens a session; use it as a context manager.

        It starts with the longest stored prefix of `tokens`, or with all of `context_id`, or, if
        neither is given, with nothing; never with more than `reuse_limit` tokens.

        Errors: NotFoundError for the model or context; ResourceExhaustedError at max_sessions.
        """
        shape = self.model(model)
        request = session_service_pb2.CreateSessionRequest(
            model=model,
            tokens=None if tokens is None else token_list(tokens),
            context_id=context_id,
            reuse_limit=reuse_limit,
        )
        response = self._channel.call(
            self._channel.sessions.CreateSession, request, session_service_pb2.CreateSessionResponse
        )
        return Session(
            self._channel,
            self._streams,
            shape,
            response.session_id,
            response.context_id,
            response.reused_tokens,
        )

    def sessions(self, *, page_size: int = 100) -> Iterator[SessionInfo]:
        """All open sessions by rising id."""
        page_token = ""
        while True:
            request = session_service_pb2.ListSessionsRequest(
                page_size=page_size, page_token=page_token
            )
            page = self._channel.call(
                self._channel.sessions.ListSessions,
                request,
                session_service_pb2.ListSessionsResponse,
            )
            yield from map(SessionInfo._from, page.sessions)
            page_token = page.next_page_token
            if not page_token:
                return

    @overload
    def attend_many(
        self,
        items: Sequence[AttendItem],
        *,
        timeout: float | None = None,
        return_exceptions: Literal[False] = False,
    ) -> list[Attention]: ...
    @overload
    def attend_many(
        self, items: Sequence[AttendItem], *, timeout: float | None = None, return_exceptions: bool
    ) -> list[Attention] | list[Attention | AlayaError]: ...
    def attend_many(
        self,
        items: Sequence[AttendItem],
        *,
        timeout: float | None = None,
        return_exceptions: bool = False,
    ) -> list[Attention] | list[Attention | AlayaError]:
        """Many attention items, for example one layer of a whole batch, in one request.

        Returns one answer per item, in item order. An item that fails fails alone: with
        `return_exceptions` its error stands in its place, otherwise the first error is raised
        after all items have run. Errors: as `Session.attend`.
        """
        batch = Batch(items)
        if timeout is None:
            timeout = self._channel.timeout
        results = self._streams.request(batch.request, timeout, batch.idempotent)
        return settle(batch.read(results), return_exceptions)

    def attend_stream(self) -> AttendStream:
        """A pipeline that keeps several requests in flight; use it as a context manager."""
        return AttendStream(self._streams, self._channel.timeout)

    # Operation.

    def create_backup(self, directory: str, *, timeout: float | None = None) -> int:
        """Copies all contexts into a new directory on the server's machine; returns bytes."""
        request = admin_service_pb2.CreateBackupRequest(directory=directory)
        method = self._channel.admin.CreateBackup
        response = self._channel.call(
            method, request, admin_service_pb2.CreateBackupResponse, timeout, unlimited=True
        )
        return response.bytes

    def compact_storage(self, *, timeout: float | None = None) -> int:
        """Reclaims the space of deleted contexts now; returns bytes."""
        request = admin_service_pb2.CompactStorageRequest()
        method = self._channel.admin.CompactStorage
        response = self._channel.call(
            method, request, admin_service_pb2.CompactStorageResponse, timeout, unlimited=True
        )
        return response.freed_bytes
