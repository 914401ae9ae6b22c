"""What the database answers, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from alayadb._arrays import Array, dtype_from_wire, dtype_to_wire
from alayadb.v1 import (
    admin_service_pb2,
    attention_pb2,
    context_service_pb2,
    model_pb2,
    session_service_pb2,
)


@dataclass(frozen=True)
class Model:
    """The shape of an LLM's KV cache.

    Query head h uses KV head h // (num_query_heads // num_kv_heads). `dtype` is that of keys and
    values; queries may come in any of the three.
    """

    name: str
    num_layers: int
    num_query_heads: int
    num_kv_heads: int
    head_dim: int
    dtype: np.dtype[Any]

    @classmethod
    def _from(cls, m: model_pb2.Model) -> Model:
        dtype = dtype_from_wire(m.dtype)
        return cls(m.name, m.num_layers, m.num_query_heads, m.num_kv_heads, m.head_dim, dtype)

    def _to(self) -> model_pb2.Model:
        return model_pb2.Model(
            name=self.name,
            num_layers=self.num_layers,
            num_query_heads=self.num_query_heads,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.head_dim,
            dtype=dtype_to_wire(self.dtype),
        )


@dataclass(frozen=True)
class Match:
    """The longest stored prefix of some tokens: its length, and a context that starts with it.

    Without any match `tokens` is 0 and `context_id` is "". True if anything matches.
    """

    context_id: str
    tokens: int

    def __bool__(self) -> bool:
        return self.tokens > 0


@dataclass(frozen=True)
class ImportResult:
    """A stored context; `reused_tokens` were stored before, `stored_bytes` were added on disk."""

    context_id: str
    reused_tokens: int
    stored_bytes: int


@dataclass(frozen=True)
class Context:
    """A stored context."""

    context_id: str
    model: str
    token_count: int
    segment_count: int
    #: Bytes of KV that it spans; segments shared between contexts count in each.
    stored_bytes: int
    labels: Mapping[str, str]
    create_time: datetime
    #: None: never. A pinned context does not expire.
    expire_time: datetime | None
    pinned: bool

    @classmethod
    def _from(cls, c: context_service_pb2.Context) -> Context:
        return cls(
            context_id=c.context_id,
            model=c.model,
            token_count=c.token_count,
            segment_count=c.segment_count,
            stored_bytes=c.stored_bytes,
            labels=dict(c.labels),
            create_time=_time(c.create_time),
            expire_time=_time(c.expire_time) if c.HasField("expire_time") else None,
            pinned=c.pinned,
        )


@dataclass(frozen=True)
class KvChunk:
    """Stored keys and values of tokens [token_begin, token_begin + T) of one layer.

    `key` and `value` are read-only [T, num_kv_heads, head_dim] arrays of the model's dtype.
    """

    layer: int
    token_begin: int
    key: Array
    value: Array


@dataclass(frozen=True)
class Hits:
    """What one query vector of one head found, by falling score.

    `tokens` is uint64 positions, `scores` float32 unscaled inner products.
    """

    tokens: Array
    scores: Array


@dataclass(frozen=True)
class SearchResult:
    """Answer of `Client.search`: hits[t][h] for query t and query head h."""

    hits: list[list[Hits]]
    stats: AttendStats


@dataclass(frozen=True)
class SessionInfo:
    """An open session as the server sees it. `tail_tokens` counts layer 0."""

    session_id: str
    model: str
    context_id: str
    reused_tokens: int
    tail_tokens: int
    tail_bytes: int
    create_time: datetime
    last_use_time: datetime

    @classmethod
    def _from(cls, s: session_service_pb2.Session) -> SessionInfo:
        return cls(
            session_id=s.session_id,
            model=s.model,
            context_id=s.context_id,
            reused_tokens=s.reused_tokens,
            tail_tokens=s.tail_tokens,
            tail_bytes=s.tail_bytes,
            create_time=_time(s.create_time),
            last_use_time=_time(s.last_use_time),
        )


@dataclass(frozen=True)
class SegmentPlan:
    """How one segment was, or could have been, searched. `index` and `tier` are lower-case."""

    token_begin: int
    token_count: int
    index: str
    tier: str
    predicted_microseconds: float
    actual_microseconds: float
    reason: str

    @classmethod
    def _from(cls, p: attention_pb2.SegmentPlan) -> SegmentPlan:
        return cls(
            token_begin=p.token_begin,
            token_count=p.token_count,
            index=_index(p.index),
            tier=_tier(p.tier),
            predicted_microseconds=p.predicted_microseconds,
            actual_microseconds=p.actual_microseconds,
            reason=p.reason,
        )


@dataclass(frozen=True)
class AttendStats:
    """What one attention item did. The last two are arrays [T, Hq] with explain, else None.

    `tokens_scored` and `tokens_attended` are sums over queries and query heads. `tier` is the
    slowest one ("gpu", "memory", "disk") that any needed byte came from.
    """

    plans: tuple[SegmentPlan, ...]
    rejected_plans: tuple[SegmentPlan, ...]
    tokens_scored: int
    tokens_attended: int
    tail_estimated: bool
    tier: str
    queue_microseconds: float
    search_microseconds: float
    attend_microseconds: float
    engine_microseconds: float
    head_tokens_attended: Array | None = None
    head_covered_mass: Array | None = None

    @classmethod
    def _from(cls, s: attention_pb2.AttendStats, shape: tuple[int, ...]) -> AttendStats:
        return cls(
            plans=tuple(map(SegmentPlan._from, s.plans)),
            rejected_plans=tuple(map(SegmentPlan._from, s.rejected_plans)),
            tokens_scored=s.tokens_scored,
            tokens_attended=s.tokens_attended,
            tail_estimated=s.tail_estimated,
            tier=_tier(s.tier),
            queue_microseconds=s.queue_microseconds,
            search_microseconds=s.search_microseconds,
            attend_microseconds=s.attend_microseconds,
            engine_microseconds=s.engine_microseconds,
            head_tokens_attended=_per_head(s.head_tokens_attended, np.uint64, shape),
            head_covered_mass=_per_head(s.head_covered_mass, np.float32, shape),
        )


class Attention:
    """Answer of one attention item.

    Attributes:
      output: [T, num_query_heads, head_dim] in the query's dtype; without T if the query had none.
      log_sum_exp: [T, num_query_heads] float32, natural logarithm of the softmax denominator over
        the attended tokens; -inf where none was visible.
      stats: what the server did (`AttendStats`), converted when first read.
    """

    __slots__ = ("_raw_stats", "_stats", "log_sum_exp", "output")

    def __init__(self, output: Array, log_sum_exp: Array, stats: attention_pb2.AttendStats):
        self.output = output
        self.log_sum_exp = log_sum_exp
        self._raw_stats = stats
        self._stats: AttendStats | None = None

    @property
    def stats(self) -> AttendStats:
        if self._stats is None:
            self._stats = AttendStats._from(self._raw_stats, self.log_sum_exp.shape)
        return self._stats

    def __repr__(self) -> str:
        return f"Attention(output={self.output.dtype}{list(self.output.shape)})"


@dataclass(frozen=True)
class Device:
    """A device that can run attention, for example "cpu" or "cuda:0"."""

    name: str
    description: str
    memory_budget_bytes: int


@dataclass(frozen=True)
class Limits:
    """The server's limits on requests; a request beyond one is refused."""

    max_context_tokens: int
    max_message_bytes: int
    max_items_per_request: int
    max_queries_per_item: int
    max_sessions: int
    max_requests_in_flight_per_stream: int
    max_tail_tokens_per_session: int
    max_tail_bytes_total: int


@dataclass(frozen=True)
class ServerInfo:
    """Version, limits and devices of the server."""

    version: str
    build: str
    start_time: datetime
    limits: Limits
    devices: tuple[Device, ...]

    @classmethod
    def _from(cls, r: admin_service_pb2.GetServerInfoResponse) -> ServerInfo:
        return cls(
            version=r.version,
            build=r.build,
            start_time=_time(r.start_time),
            limits=Limits(**{f: getattr(r.limits, f) for f in Limits.__dataclass_fields__}),
            devices=tuple(Device(d.name, d.description, d.memory_budget_bytes) for d in r.devices),
        )


@dataclass(frozen=True)
class TierStats:
    """Use of one tier. A capacity of 0 means unlimited."""

    tier: str
    used_bytes: int
    capacity_bytes: int
    hits: int
    misses: int
    evictions: int
    pinned_bytes: int


@dataclass(frozen=True)
class IndexStats:
    """All indexes of one kind."""

    kind: str
    segments: int
    bytes: int


@dataclass(frozen=True)
class ServerStats:
    """What the server holds right now. Segments that contexts share count once."""

    tiers: tuple[TierStats, ...]
    models: int
    contexts: int
    segments: int
    sessions: int
    stored_tokens: int
    tail_bytes: int
    indexes: tuple[IndexStats, ...]
    lookup_tokens: int
    hit_tokens: int
    process_resident_bytes: int
    uptime_seconds: float

    @classmethod
    def _from(cls, r: admin_service_pb2.GetStatsResponse) -> ServerStats:
        values = {f: getattr(r, f) for f in cls.__dataclass_fields__}
        values["tiers"] = tuple(
            TierStats(
                tier=_tier(t.tier),
                used_bytes=t.used_bytes,
                capacity_bytes=t.capacity_bytes,
                hits=t.hits,
                misses=t.misses,
                evictions=t.evictions,
                pinned_bytes=t.pinned_bytes,
            )
            for t in r.tiers
        )
        values["indexes"] = tuple(
            IndexStats(_index(i.kind), i.segments, i.bytes) for i in r.indexes
        )
        return cls(**values)


def _time(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=timezone.utc)


def _tier(number: int) -> str:
    return _enum_word(attention_pb2.Tier.DESCRIPTOR, number)


def _index(number: int) -> str:
    return _enum_word(attention_pb2.IndexKind.DESCRIPTOR, number)


def _enum_word(descriptor: Any, number: int) -> str:
    """TIER_MEMORY -> "memory"; unset -> ""; a number newer than this client -> itself."""
    if number == 0:
        return ""
    value = descriptor.values_by_number.get(number)
    return str(number) if value is None else str(value.name.split("_")[-1].lower())


def _per_head(values: Any, dtype: Any, shape: tuple[int, ...]) -> Array | None:
    return np.array(values, dtype=dtype).reshape(shape) if len(values) > 0 else None
