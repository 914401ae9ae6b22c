"""AlayaDB: the KV cache of long contexts and the attention over it, as a database.

    import alayadb

    with alayadb.connect("127.0.0.1:50600") as db:
        with db.create_session("my-model", tokens) as session:
            attention = session.attend(layer, query, key, value)

Start at `connect`, `Client` and `Session`.
"""

from alayadb._arrays import bfloat16
from alayadb._attend import AttendItem, AttendStream, PendingAttend
from alayadb._client import Client, connect
from alayadb._errors import (
    AlayaError,
    AlreadyExistsError,
    CancelledCallError,
    DataLossError,
    DeadlineError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnavailableError,
)
from alayadb._options import Dipr, Full, Mass, Target, TokenRange, TopK, Window
from alayadb._session import Session
from alayadb._tls import Tls
from alayadb._types import (
    AttendStats,
    Attention,
    Context,
    Device,
    Hits,
    ImportResult,
    IndexStats,
    KvChunk,
    Limits,
    Match,
    Model,
    SearchResult,
    SegmentPlan,
    ServerInfo,
    ServerStats,
    SessionInfo,
    TierStats,
)

__version__ = "0.1.0"

__all__ = [
    "AlayaError",
    "AlreadyExistsError",
    "AttendItem",
    "AttendStats",
    "AttendStream",
    "Attention",
    "CancelledCallError",
    "Client",
    "Context",
    "DataLossError",
    "DeadlineError",
    "Device",
    "Dipr",
    "FailedPreconditionError",
    "Full",
    "Hits",
    "ImportResult",
    "IndexStats",
    "InvalidArgumentError",
    "KvChunk",
    "Limits",
    "Mass",
    "Match",
    "Model",
    "NotFoundError",
    "PendingAttend",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "SearchResult",
    "SegmentPlan",
    "ServerInfo",
    "ServerStats",
    "Session",
    "SessionInfo",
    "Target",
    "TierStats",
    "Tls",
    "TokenRange",
    "TopK",
    "UnavailableError",
    "Window",
    "bfloat16",
    "connect",
]
