"""A server in memory, for tests that need no real one: the API's plain cases, without indexes.

It checks little of what the real server checks: the client's own checks are under test here.
"""

from __future__ import annotations

import itertools
import threading
import time
from concurrent import futures
from dataclasses import dataclass, field
from datetime import datetime, timezone

import grpc
import numpy as np
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from alayadb import Dipr, Full, Mass, TopK, Window
from alayadb._arrays import dtype_from_wire, from_tensor, to_tensor
from alayadb.testing import exact_attention
from alayadb.v1 import admin_service_pb2 as admin
from alayadb.v1 import (
    admin_service_pb2_grpc,
    context_service_pb2_grpc,
    session_service_pb2_grpc,
)
from alayadb.v1 import context_service_pb2 as contexts
from alayadb.v1 import session_service_pb2 as sessions


class Refused(Exception):
    """A refusal: code, message and ErrorInfo reason."""

    def __init__(self, code: grpc.StatusCode, message: str, reason: str = "") -> None:
        super().__init__(message)
        info = error_details_pb2.ErrorInfo(reason=reason, domain="alayadb", metadata={"id": "x"})
        detail = any_pb2.Any()
        detail.Pack(info)
        self.code = code
        self.status = status_pb2.Status(code=code.value[0], message=message, details=[detail])


def not_found(what: str, name: str) -> Refused:
    return Refused(grpc.StatusCode.NOT_FOUND, f"{what} '{name}' is unknown", "NOT_FOUND")


@dataclass
class Kv:
    """Keys and values per layer."""

    keys: list[np.ndarray]
    values: list[np.ndarray]

    @classmethod
    def empty(cls, num_layers: int, heads: int, dim: int, dtype: np.dtype) -> Kv:
        def make() -> list[np.ndarray]:
            return [np.empty((0, heads, dim), dtype) for _ in range(num_layers)]

        return cls(make(), make())

    def head(self, count: int) -> Kv:
        return Kv([k[:count] for k in self.keys], [v[:count] for v in self.values])

    def append(self, layer: int, key: np.ndarray, value: np.ndarray) -> None:
        self.keys[layer] = np.concatenate([self.keys[layer], key])
        self.values[layer] = np.concatenate([self.values[layer], value])


@dataclass
class StoredContext:
    message: contexts.Context
    tokens: list[int]
    kv: Kv


@dataclass
class OpenSession:
    message: sessions.Session
    kv: Kv


@dataclass
class State:
    """What the server holds, and switches for faults."""

    models: dict[str, object] = field(default_factory=dict)
    contexts: dict[str, StoredContext] = field(default_factory=dict)
    sessions: dict[str, OpenSession] = field(default_factory=dict)
    ids: itertools.count = field(default_factory=itertools.count)
    lock: threading.Lock = field(default_factory=threading.Lock)

    # Messages of the last import, and the number of Attend calls that were opened.
    import_messages: list[contexts.ImportContextRequest] = field(default_factory=list)
    attend_requests: list[sessions.AttendRequest] = field(default_factory=list)
    attend_streams: int = 0
    # Faults: seconds that each attend takes; attend streams to break; imports to refuse midway;
    # answers Unavailable to this many unary calls.
    attend_delay: float = 0.0
    attend_breaks: int = 0
    refuse_import: bool = False
    unavailable_calls: int = 0

    def match(self, model: str, tokens: list[int]) -> tuple[str, int]:
        best, length = "", 0
        for name, stored in self.contexts.items():
            pairs = zip(stored.tokens, tokens)
            count = sum(1 for _ in itertools.takewhile(lambda p: p[0] == p[1], pairs))
            if stored.message.model == model and count > length:
                best, length = name, count
        return best, length

    def empty_kv(self, model: str) -> Kv:
        m = self.models[model]
        return Kv.empty(m.num_layers, m.num_kv_heads, m.head_dim, dtype_from_wire(m.dtype))

    def store(self, request, model: str, tokens: list[int], kv: Kv) -> contexts.Context:
        name = request.context_id or f"context-{next(self.ids)}"
        if name in self.contexts:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"context '{name}' exists", "IN_USE")
        message = contexts.Context(
            context_id=name,
            model=model,
            token_count=len(tokens),
            segment_count=1,
            stored_bytes=sum(a.nbytes for a in kv.keys + kv.values),
            labels=request.labels,
        )
        message.create_time.GetCurrentTime()
        if request.HasField("ttl"):
            expiry = datetime.now(timezone.utc) + request.ttl.ToTimedelta()
            message.expire_time.FromDatetime(expiry)
        self.contexts[name] = StoredContext(message, tokens, kv)
        return message


def unary(method):
    """A handler that runs under the lock and may raise Refused."""

    def handle(self, request, context):
        state = self.state
        with state.lock:
            if state.unavailable_calls > 0:
                state.unavailable_calls -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "the server drains")
            try:
                return method(self, state, request)
            except Refused as refused:
                refuse(context, refused)

    return handle


def refuse(context: grpc.ServicerContext, refused: Refused) -> None:
    context.set_trailing_metadata(
        (("grpc-status-details-bin", refused.status.SerializeToString()),)
    )
    context.abort(refused.code, refused.status.message)


class ContextService(context_service_pb2_grpc.ContextServiceServicer):
    def __init__(self, state: State) -> None:
        self.state = state

    def ImportContext(self, request_iterator, context):
        state = self.state
        state.import_messages = []
        try:
            with state.lock:
                header = next(request_iterator).header
                tokens = list(header.tokens)
                if not tokens:
                    raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "0 tokens", "TOKENS")
                name, reused = state.match(header.model, tokens)
                kv = state.contexts[name].kv.head(reused) if name else state.empty_kv(header.model)
                for message in request_iterator:
                    state.import_messages.append(message)
                    if state.refuse_import:
                        raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "disk full", "DISK")
                    chunk = message.chunk
                    assert chunk.token_begin == len(kv.keys[chunk.layer])
                    kv.append(chunk.layer, from_tensor(chunk.key), from_tensor(chunk.value))
                assert {len(a) for a in kv.keys + kv.values} == {len(tokens)}
                stored = state.store(header, header.model, tokens, kv)
        except Refused as refused:
            refuse(context, refused)
        return contexts.ImportContextResponse(
            context_id=stored.context_id, reused_tokens=reused, stored_bytes=stored.stored_bytes
        )

    @unary
    def MatchContext(self, state, request):
        name, count = state.match(request.model, list(request.tokens))
        return contexts.MatchContextResponse(context_id=name, matched_tokens=count)

    def ReadContext(self, request, context):
        stored = self.state.contexts.get(request.context_id)
        if stored is None:
            refuse(context, not_found("context", request.context_id))
        begin, end = request.token_range.begin, request.token_range.end or len(stored.tokens)
        for layer in list(request.layers) or range(len(stored.kv.keys)):
            for first in range(begin, end, 7):
                rows = slice(first, min(first + 7, end))
                yield contexts.ReadContextResponse(
                    layer=layer,
                    token_begin=first,
                    key=to_tensor(stored.kv.keys[layer][rows]),
                    value=to_tensor(stored.kv.values[layer][rows]),
                )

    def _find(self, name: str) -> StoredContext:
        if name not in self.state.contexts:
            raise not_found("context", name)
        return self.state.contexts[name]

    @unary
    def GetContext(self, state, request):
        stored = self._find(request.context_id)
        tokens = stored.tokens if request.include_tokens else None
        return contexts.GetContextResponse(context=stored.message, tokens=tokens)

    @unary
    def ListContexts(self, state, request):
        wanted = dict(request.labels)
        found = [
            s.message
            for s in reversed(state.contexts.values())
            if request.model in ("", s.message.model)
            and wanted.items() <= dict(s.message.labels).items()
        ]
        first = int(request.page_token or 0)
        last = first + (request.page_size or 100)
        token = str(last) if last < len(found) else ""
        return contexts.ListContextsResponse(contexts=found[first:last], next_page_token=token)

    @unary
    def UpdateContext(self, state, request):
        message = self._find(request.context_id).message
        if request.HasField("pinned"):
            message.pinned = request.pinned
        if request.HasField("ttl"):
            message.ClearField("expire_time")
            if request.ttl.ToTimedelta():
                expiry = datetime.now(timezone.utc) + request.ttl.ToTimedelta()
                message.expire_time.FromDatetime(expiry)
        if request.HasField("labels"):
            message.ClearField("labels")
            message.labels.update(request.labels.labels)
        return contexts.UpdateContextResponse(context=message)

    @unary
    def DeleteContext(self, state, request):
        stored = self._find(request.context_id)
        del state.contexts[request.context_id]
        return contexts.DeleteContextResponse(freed_bytes=stored.message.stored_bytes)

    @unary
    def SearchContext(self, state, request):
        stored = self._find(request.context_id)
        query = from_tensor(request.query).astype(np.float64)
        keys = stored.kv.keys[request.layer].astype(np.float64)
        group = query.shape[1] // keys.shape[1]
        response = contexts.SearchContextResponse()
        for row in query:
            for h, vector in enumerate(row):
                scores = keys[:, h // group] @ vector
                best = np.argsort(-scores, kind="stable")[: request.top_k.k or 3]
                response.heads.add(tokens=best.tolist(), scores=scores[best].tolist())
        return response


class SessionService(session_service_pb2_grpc.SessionServiceServicer):
    def __init__(self, state: State) -> None:
        self.state = state

    def _find(self, name: str) -> OpenSession:
        if name not in self.state.sessions:
            raise not_found("session", name)
        return self.state.sessions[name]

    def _open(self, model: str, context_id: str, reused: int, kv: Kv) -> sessions.Session:
        message = sessions.Session(
            session_id=f"session-{next(self.state.ids)}",
            model=model,
            context_id=context_id,
            reused_tokens=reused,
        )
        self.state.sessions[message.session_id] = OpenSession(message, kv)
        return message

    @unary
    def CreateSession(self, state, request):
        if request.model not in state.models:
            raise not_found("model", request.model)
        if request.context_id:
            if request.context_id not in state.contexts:
                raise not_found("context", request.context_id)
            name = request.context_id
            reused = len(state.contexts[name].tokens)
        else:
            name, reused = state.match(request.model, list(request.tokens))
        if request.HasField("reuse_limit"):
            reused = min(reused, request.reuse_limit)
        empty = state.empty_kv(request.model)
        kv = state.contexts[name].kv.head(reused) if name else empty
        message = self._open(request.model, name, reused, kv)
        return sessions.CreateSessionResponse(
            session_id=message.session_id, reused_tokens=reused, context_id=name
        )

    def Attend(self, request_iterator, context):
        state = self.state
        state.attend_streams += 1
        for request in request_iterator:
            state.attend_requests.append(request)
            if state.attend_breaks > 0:
                state.attend_breaks -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")
            time.sleep(state.attend_delay)
            response = sessions.AttendResponse(request_id=request.request_id)
            for item in request.items:
                with state.lock:
                    try:
                        self._attend(item, response.results.add())
                    except Refused as refused:
                        response.results[-1].status.CopyFrom(refused.status)
            yield response

    def _attend(self, item: sessions.AttendItem, result: sessions.AttendResult) -> None:
        session = self._find(item.session_id)
        layer, options = item.layer, item.options
        if item.HasField("key"):
            before = session.kv.keys[layer - 1] if layer else None
            count = len(session.kv.keys[layer]) + item.key.shape[0]
            if before is not None and count > len(before):
                code = grpc.StatusCode.FAILED_PRECONDITION
                raise Refused(code, f"layer {layer} is ahead of layer {layer - 1}", "LAYER_ORDER")
            session.kv.append(layer, from_tensor(item.key), from_tensor(item.value))
        if not item.HasField("query"):
            return
        query = from_tensor(item.query)
        kind = options.WhichOneof("target")
        targets = {
            "full": Full,
            "dipr": lambda: Dipr(options.dipr.alpha),
            "top_k": lambda: TopK(options.top_k.k),
            "mass": lambda: Mass(options.mass.fraction),
            None: Dipr,
        }
        token_range = None
        if options.HasField("token_range"):
            end = options.token_range.end or len(session.kv.keys[layer])
            token_range = (options.token_range.begin, end)
        exact = exact_attention(
            query,
            session.kv.keys[layer],
            session.kv.values[layer],
            target=targets[kind](),
            window=Window(options.window.sink, options.window.recent)
            if options.HasField("window")
            else Window(),
            scale=options.scale if options.HasField("scale") else None,
            token_range=token_range,
            tail_begin=session.message.reused_tokens,
            causal=item.HasField("key"),
        )
        result.output.CopyFrom(to_tensor(exact.output.astype(query.dtype)))
        result.log_sum_exp.CopyFrom(to_tensor(exact.log_sum_exp.astype(np.float32)))
        result.stats.tokens_attended = int(exact.attended.sum())
        result.stats.tier = 2
        if options.explain:
            result.stats.head_tokens_attended.extend(exact.attended.sum(-1).ravel().tolist())
            result.stats.plans.add(token_count=exact.attended.shape[-1], index=1, tier=2)

    @unary
    def StoreSession(self, state, request):
        session = self._find(request.session_id)
        tokens = list(request.tokens)
        if {len(a) for a in session.kv.keys} != {len(tokens)}:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "layers differ", "LAYERS")
        kv = Kv(list(session.kv.keys), list(session.kv.values))
        stored = state.store(request, session.message.model, tokens, kv)
        return sessions.StoreSessionResponse(context_id=stored.context_id)

    @unary
    def ForkSession(self, state, request):
        old = self._find(request.session_id)
        kv = Kv(list(old.kv.keys), list(old.kv.values))
        m = old.message
        new = self._open(m.model, m.context_id, m.reused_tokens, kv)
        return sessions.ForkSessionResponse(session_id=new.session_id)

    @unary
    def TruncateSession(self, state, request):
        session = self._find(request.session_id)
        session.kv = session.kv.head(request.token_count)
        session.message.reused_tokens = min(session.message.reused_tokens, request.token_count)
        return sessions.TruncateSessionResponse()

    @unary
    def CloseSession(self, state, request):
        self._find(request.session_id)
        del state.sessions[request.session_id]
        return sessions.CloseSessionResponse()

    @unary
    def GetSession(self, state, request):
        session = self._find(request.session_id)
        message = session.message
        message.tail_tokens = len(session.kv.keys[0]) - message.reused_tokens
        return sessions.GetSessionResponse(session=message)

    @unary
    def ListSessions(self, state, request):
        found = [s.message for s in state.sessions.values()]
        return sessions.ListSessionsResponse(sessions=found)


class AdminService(admin_service_pb2_grpc.AdminServiceServicer):
    def __init__(self, state: State) -> None:
        self.state = state

    @unary
    def RegisterModel(self, state, request):
        model = request.model
        known = state.models.setdefault(model.name, model)
        if known != model:
            message = f"model '{model.name}' has another shape"
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, message, "MODEL_SHAPE")
        return admin.RegisterModelResponse(created=known is model)

    @unary
    def ListModels(self, state, request):
        return admin.ListModelsResponse(models=[state.models[n] for n in sorted(state.models)])

    @unary
    def GetServerInfo(self, state, request):
        response = admin.GetServerInfoResponse(version="0.0.0-fake")
        response.limits.max_sessions = 7
        response.devices.add(name="cpu", description="numpy")
        return response

    @unary
    def GetStats(self, state, request):
        response = admin.GetStatsResponse(
            contexts=len(state.contexts), sessions=len(state.sessions), uptime_seconds=1.5
        )
        response.tiers.add(tier=2, used_bytes=5)
        response.indexes.add(kind=1, segments=1)
        return response


class FakeServer:
    """Serves a State on a loopback port; `stop` and `start` again is a restart at that port."""

    def __init__(self) -> None:
        self.state = State()
        self._port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
        context_service_pb2_grpc.add_ContextServiceServicer_to_server(
            ContextService(self.state), self._server
        )
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(
            SessionService(self.state), self._server
        )
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(
            AdminService(self.state), self._server
        )
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(grace=None).wait()
