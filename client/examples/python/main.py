"""Stores a small context, attends to it and compares the answers with ../vectors.json.

    python main.py [host:port]
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np

from alaya.v1 import admin_service_pb2, admin_service_pb2_grpc
from alaya.v1 import context_service_pb2 as context_pb2, context_service_pb2_grpc
from alaya.v1 import session_service_pb2 as session_pb2, session_service_pb2_grpc
from alaya.v1.attention_pb2 import AttendOptions, DiprTarget, FullTarget, Window
from alaya.v1.model_pb2 import Model
from alaya.v1.tensor_pb2 import DTYPE_F32, Tensor

VECTORS = json.loads(Path(__file__).parent.with_name("vectors.json").read_text())
MODEL = Model(dtype=DTYPE_F32, **VECTORS["model"])


def tensor(numbers: list[float], heads: int) -> Tensor:
    """[tokens, heads, head_dim]; the number of tokens follows from the number of elements."""
    array = np.asarray(numbers, "<f4").reshape(-1, heads, MODEL.head_dim)
    return Tensor(dtype=DTYPE_F32, shape=array.shape, data=array.tobytes())


def import_requests() -> Iterator[context_pb2.ImportContextRequest]:
    """The header, then the keys and values of each layer. Long contexts send chunks of about 1 MiB."""
    Request = context_pb2.ImportContextRequest
    tokens = VECTORS["context"]["tokens"]
    yield Request(header=Request.Header(model=MODEL.name, tokens=tokens))
    for layer, kv in enumerate(VECTORS["context"]["layers"]):
        key, value = (tensor(kv[name], MODEL.num_kv_heads) for name in ("key", "value"))
        yield Request(chunk=Request.Chunk(layer=layer, token_begin=0, key=key, value=value))


def attend_requests(session_id: str) -> Iterator[session_pb2.AttendRequest]:
    """One decoded token: a request per layer, each asked twice, for exact and for DIPR attention."""
    window = Window(**VECTORS["window"])
    full = AttendOptions(full=FullTarget(), window=window)
    dipr = AttendOptions(dipr=DiprTarget(alpha=VECTORS["alpha"]), window=window, tail_estimate=False)
    for layer, step in enumerate(VECTORS["step"]["layers"]):
        common = {
            "session_id": session_id,
            "layer": layer,
            "query": tensor(step["query"], MODEL.num_query_heads),
        }
        key, value = (tensor(step[name], MODEL.num_kv_heads) for name in ("key", "value"))
        # The first item appends the new token's key and value; the second one sees them too.
        yield session_pb2.AttendRequest(
            request_id=layer,
            items=[
                session_pb2.AttendItem(key=key, value=value, options=full, **common),
                session_pb2.AttendItem(options=dipr, **common),
            ],
        )


def check(what: str, result: session_pb2.AttendResult, expected: dict) -> None:
    if result.status.code != 0:
        raise SystemExit(f"{what}: {result.status.message}")
    tolerance = VECTORS["tolerance"]
    for name in ("output", "log_sum_exp"):
        actual = np.frombuffer(getattr(result, name).data, "<f4")
        np.testing.assert_allclose(actual, expected[name], rtol=0, atol=tolerance, err_msg=what)
    attended = result.stats.tokens_attended
    assert attended == expected["tokens_attended"], (what, attended)
    print(f"{what}: {attended} tokens attended")


def main() -> None:
    address = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("ALAYADB_ADDRESS", "127.0.0.1:50600")
    with grpc.insecure_channel(address) as channel:
        admin = admin_service_pb2_grpc.AdminServiceStub(channel)
        contexts = context_service_pb2_grpc.ContextServiceStub(channel)
        sessions = session_service_pb2_grpc.SessionServiceStub(channel)

        admin.RegisterModel(admin_service_pb2.RegisterModelRequest(model=MODEL))
        context_id = contexts.ImportContext(import_requests()).context_id

        session = sessions.CreateSession(
            session_pb2.CreateSessionRequest(model=MODEL.name, context_id=context_id)
        )
        print(f"session on {session.reused_tokens} stored tokens")
        for response in sessions.Attend(attend_requests(session.session_id)):
            expected = VECTORS["step"]["layers"][response.request_id]
            for target, result in zip(("full", "dipr"), response.results, strict=True):
                check(f"layer {response.request_id} {target}", result, expected[target])
        sessions.CloseSession(session_pb2.CloseSessionRequest(session_id=session.session_id))

        listed = contexts.ListContexts(context_pb2.ListContextsRequest(model=MODEL.name)).contexts
        assert context_id in [context.context_id for context in listed]
        contexts.DeleteContext(context_pb2.DeleteContextRequest(context_id=context_id))
    print("ok: all numbers agree with vectors.json")


if __name__ == "__main__":
    main()
