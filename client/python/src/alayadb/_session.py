"""A running sequence: a prefix of a stored context plus a tail of new tokens."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

from alayadb._arrays import Array, Duration, Tokens, to_timedelta, token_list
from alayadb._attend import AttendItem, Batch, settle
from alayadb._channel import Channel
from alayadb._errors import NotFoundError, UnavailableError
from alayadb._options import Target, TokenRange, Window
from alayadb._stream import StreamPool
from alayadb._types import Attention, Model, SessionInfo
from alayadb.v1 import session_service_pb2 as pb


class Session:
    """An open session; from `Client.create_session`. Leaving its `with` block closes it.

    Shapes use T new tokens, Hq query heads, Hkv KV heads and D = head_dim of the session's model;
    T = 1 may be left out. Arrays are float32, float16 or ml_dtypes.bfloat16 with any strides.
    Keys and values must have the model's dtype and come after RoPE, as queries do.

    Threads: any; calls of one session are answered in the order in which they were sent.

    Attributes:
      session_id: the server's name for it.
      model: the model's shape.
      context_id: context whose prefix is reused, or "".
      reused_tokens: tokens that the session started with; compute and send the rest.
    """

    def __init__(
        self,
        channel: Channel,
        streams: StreamPool,
        model: Model,
        session_id: str,
        context_id: str,
        reused_tokens: int,
    ) -> None:
        self._channel = channel
        self._streams = streams
        self.model = model
        self.session_id = session_id
        self.context_id = context_id
        self.reused_tokens = reused_tokens
        self._closed = False

    def attend(
        self,
        layer: int,
        query: Array,
        key: Array | None = None,
        value: Array | None = None,
        *,
        target: Target | None = None,
        window: Window | None = None,
        scale: float | None = None,
        token_range: TokenRange | None = None,
        tail_estimate: bool | None = None,
        explain: bool = False,
        timeout: float | None = None,
    ) -> Attention:
        """Attention of the queries over everything that the session holds in this layer.

        Args:
          layer: 0 .. num_layers - 1. A layer may not get ahead of the layer before it.
          query: [T, Hq, D], any of the three dtypes.
          key, value: [T, Hkv, D], appended to the tail first; query i sees all earlier tokens and
            new tokens 0..i. Both or neither.
          target: Full(), Dipr(alpha), TopK(k) or Mass(fraction). None: the planner's default,
            Dipr(0.012). Window and tail are always attended exactly.
          window: None means Window(sink=128, recent=512).
          scale: factor from inner product to logit. None: 1 / sqrt(D).
          token_range: only these token positions are visible. None: all.
          tail_estimate: merge in an estimate of the attention to all other tokens, of DIPR;
            segments without an index to estimate with are attended whole then. None: if some
            segment has such an index.
          explain: return per-head detail and the plans that were considered.
          timeout: seconds. None: the client's.

        Returns:
          Attention: output [T, Hq, D] in the query's dtype, log_sum_exp [T, Hq] float32, stats;
          without T if the query came without T.

        Errors: InvalidArgumentError for a wrong shape, dtype or value, mostly before anything is
          sent; NotFoundError if the session is gone; FailedPreconditionError if the layer gets
          ahead; ResourceExhaustedError at a limit; DataLossError: these change nothing.
          UnavailableError if the connection broke and DeadlineError: an attend with key and value
          may then have taken effect or not.
        """
        item = AttendItem(
            self,
            layer,
            query,
            key,
            value,
            target,
            window,
            scale,
            token_range,
            tail_estimate,
            explain,
        )
        return self._attend(item, timeout)

    def append(self, layer: int, key: Array, value: Array, *, timeout: float | None = None) -> None:
        """Appends keys and values, [T, Hkv, D] each, to the layer's tail. Errors: as `attend`."""
        self._attend(AttendItem(self, layer, None, key, value), timeout)

    def store(
        self,
        tokens: Tokens,
        *,
        context_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        ttl: Duration | None = None,
        timeout: float | None = None,
    ) -> str:
        """Makes the session's tokens a new context and returns its id. The session stays open.

        The reused prefix is shared, only the tail is written; durable when this returns.

        Args:
          tokens: all of the session's tokens, reused prefix and tail.
          context_id: 1 to 128 characters of [A-Za-z0-9._-]. None: the server makes one.
          labels: for `Client.contexts` to filter by.
          ttl: seconds or timedelta until the context expires. None: never.

        Errors: FailedPreconditionError if layers hold different numbers of tokens;
          AlreadyExistsError for a context_id in use.
        """
        request = pb.StoreSessionRequest(
            session_id=self.session_id,
            tokens=token_list(tokens),
            context_id=context_id,
            labels=labels,
            ttl=None if ttl is None else to_timedelta(ttl),
        )
        method = self._channel.sessions.StoreSession
        return self._channel.call(method, request, pb.StoreSessionResponse, timeout).context_id

    def fork(self) -> Session:
        """A new session with the same prefix and a copy of the tail (beam search)."""
        request = pb.ForkSessionRequest(session_id=self.session_id)
        method = self._channel.sessions.ForkSession
        session_id = self._channel.call(method, request, pb.ForkSessionResponse).session_id
        return Session(
            self._channel,
            self._streams,
            self.model,
            session_id,
            self.context_id,
            self.reused_tokens,
        )

    def truncate(self, token_count: int) -> None:
        """Keeps the first `token_count` tokens of every layer, reused prefix included.

        May cut into the prefix; `reused_tokens` then shrinks to what is left of it.
        """
        request = pb.TruncateSessionRequest(session_id=self.session_id, token_count=token_count)
        method = self._channel.sessions.TruncateSession
        self._channel.call(method, request, pb.TruncateSessionResponse)
        self.reused_tokens = min(self.reused_tokens, token_count)

    def info(self) -> SessionInfo:
        """The session as the server sees it."""
        request = pb.GetSessionRequest(session_id=self.session_id)
        response = self._channel.call(
            self._channel.sessions.GetSession, request, pb.GetSessionResponse
        )
        return SessionInfo._from(response.session)

    def close(self) -> None:
        """Frees the tail on the server. A session that the server has lost counts as closed."""
        if self._closed:
            return
        request = pb.CloseSessionRequest(session_id=self.session_id)
        method = self._channel.sessions.CloseSession
        with suppress(NotFoundError):
            self._channel.call(method, request, pb.CloseSessionResponse)
        self._closed = True

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Sessions do not outlive the server: without it there is nothing to close.
        with suppress(UnavailableError):
            self.close()

    def __repr__(self) -> str:
        return (
            f"Session({self.session_id!r}, model={self.model.name!r}, "
            f"reused_tokens={self.reused_tokens})"
        )

    def _attend(self, item: AttendItem, timeout: float | None) -> Attention:
        batch = Batch([item])
        if timeout is None:
            timeout = self._channel.timeout
        results: Any = self._streams.request(batch.request, timeout, batch.idempotent)
        return settle(batch.read(results), return_exceptions=False)[0]
