"""Malformed requests of every kind: a clear error, nothing changed, the server lives on.

What the client would refuse by itself is sent past it, as another client might.
"""

import time

import grpc
import numpy as np
import pytest

import alayadb
from alayadb._arrays import to_tensor
from alayadb._errors import from_rpc, from_status
from alayadb.v1 import admin_service_pb2 as admin
from alayadb.v1 import (
    admin_service_pb2_grpc,
    attention_pb2,
    context_service_pb2_grpc,
    model_pb2,
    session_service_pb2_grpc,
    tensor_pb2,
)
from alayadb.v1 import context_service_pb2 as contexts
from alayadb.v1 import session_service_pb2 as sessions

from workload import make_sequence

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
EXISTS = grpc.StatusCode.ALREADY_EXISTS


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def stored(server):
    """A sequence of 20 tokens with a context "errors" of its first 10."""
    with server.connect() as db:
        sequence = make_sequence(db, 20)
        sequence.store(db, 10, context_id="errors")
        return sequence


def state_of(db):
    stats = db.stats()
    return stats.contexts, stats.segments, stats.stored_tokens, stats.models, stats.tail_bytes


def tensor(*shape, dtype=alayadb.bfloat16, fill=1.0):
    return to_tensor(np.full(shape, fill, dtype))


def broken(fill):
    """A tensor with one bad element."""
    array = np.ones((1, 2, 64), alayadb.bfloat16)
    array[0, 1, 63] = fill
    return to_tensor(array)


def truncated(*shape):
    result = tensor(*shape)
    result.data = result.data[:-1]
    return result


QUERY, KEY = tensor(1, 8, 64), tensor(1, 2, 64)
NAN_QUERY = tensor(1, 8, 64, fill=float("nan"))

# What is wrong: the item's fields that make it so, the code, and a word of the message.
BAD_ITEMS = {
    "unknown_session": (dict(session_id="nobody"), NOT_FOUND, "nobody"),
    "no_session": (dict(session_id=""), None, "session"),
    "layer_out_of_range": (dict(layer=2), INVALID, "layer"),
    "layer_far_out_of_range": (dict(layer=4294967295), INVALID, "layer"),
    "nothing": (dict(query=None), INVALID, "neither|query"),
    "zero_tokens": (dict(query=tensor(0, 8, 64)), INVALID, r"\[0,8,64\]"),
    "query_heads": (dict(query=tensor(1, 7, 64)), INVALID, r"\[1,7,64\].*8 query heads"),
    "query_head_dim": (dict(query=tensor(1, 8, 32)), INVALID, r"\[1,8,32\].*head_dim 64"),
    "query_rank_2": (dict(query=tensor(8, 64)), INVALID, "2 dimensions"),
    "query_rank_0": (dict(query=tensor_pb2.Tensor(dtype=3, data=b"")), INVALID, "dimensions"),
    "query_negative_shape": (
        dict(query=tensor_pb2.Tensor(dtype=3, shape=[-1, 8, 64], data=b"")),
        INVALID,
        "at least 1",
    ),
    "query_huge_shape": (
        dict(query=tensor_pb2.Tensor(dtype=3, shape=[1 << 62, 1 << 62, 64], data=b"")),
        INVALID,
        "larger",
    ),
    "query_no_dtype": (
        dict(query=tensor_pb2.Tensor(shape=[1, 8, 64], data=bytes(1024))),
        INVALID,
        "dtype",
    ),
    "query_unknown_dtype": (
        dict(query=tensor_pb2.Tensor(dtype=9, shape=[1, 8, 64], data=bytes(1024))),
        INVALID,
        "dtype",
    ),
    "query_truncated": (dict(query=truncated(1, 8, 64)), INVALID, "1023 bytes"),
    "query_nan": (dict(query=NAN_QUERY), INVALID, "NaN"),
    "query_infinite": (dict(query=tensor(1, 8, 64, fill=np.inf)), INVALID, "infinity"),
    "key_without_value": (dict(key=KEY), INVALID, "both or neither|value"),
    "value_without_key": (dict(value=KEY), INVALID, "both or neither|key"),
    "key_heads": (dict(key=QUERY, value=QUERY), INVALID, "2 kv heads"),
    "key_dtype": (
        dict(key=tensor(1, 2, 64, dtype=np.float16), value=tensor(1, 2, 64, dtype=np.float16)),
        INVALID,
        "dtype",
    ),
    "key_nan": (dict(key=broken(np.nan), value=KEY), INVALID, "NaN"),
    "value_infinite": (dict(key=KEY, value=broken(-np.inf)), INVALID, "infinity"),
    "value_truncated": (dict(key=KEY, value=truncated(1, 2, 64)), INVALID, "bytes"),
    "key_and_value_tokens": (dict(key=KEY, value=tensor(2, 2, 64)), INVALID, r"2"),
    "query_and_key_tokens": (
        dict(key=tensor(2, 2, 64), value=tensor(2, 2, 64)),
        INVALID,
        "tokens",
    ),
    "layer_order": (dict(layer=1, key=KEY, value=KEY), PRECONDITION, "layer 1"),
    "scale_zero": (dict(options=dict(scale=0)), INVALID, "scale"),
    "scale_negative": (dict(options=dict(scale=-1)), INVALID, "scale"),
    "scale_nan": (dict(options=dict(scale=float("nan"))), INVALID, "scale"),
    "alpha": (dict(options=dict(dipr=dict(alpha=1.5))), INVALID, "alpha"),
    "alpha_nan": (dict(options=dict(dipr=dict(alpha=float("nan")))), INVALID, "alpha"),
    "k": (dict(options=dict(top_k=dict(k=0))), INVALID, "k"),
    "fraction": (dict(options=dict(mass=dict(fraction=0))), INVALID, "fraction"),
    "range": (dict(options=dict(token_range=dict(begin=5, end=2))), INVALID, "range"),
}


def make_item(session_id, fields):
    fields = {"session_id": session_id, "layer": 0, "query": QUERY} | fields
    if "options" in fields:
        fields["options"] = attention_pb2.AttendOptions(**fields["options"])
    return sessions.AttendItem(**fields)


@pytest.mark.parametrize("name", BAD_ITEMS)
def test_a_malformed_item_fails_alone(db, channel, stored, name):
    fields, code, message = BAD_ITEMS[name]
    stub = session_service_pb2_grpc.SessionServiceStub(channel)
    with db.create_session(stored.model.name, context_id="errors") as session:
        good = make_item(session.session_id, {})
        bad = make_item(session.session_id, fields)
        before, info = state_of(db), session.info()

        requests = [
            sessions.AttendRequest(request_id=1, items=[good, bad, good]),
            sessions.AttendRequest(request_id=2, items=[good]),
        ]
        first, second = stub.Attend(iter(requests), timeout=20)

        assert [first.request_id, second.request_id] == [1, 2]
        error = from_status(first.results[1].status)
        assert error.code in ((code,) if code else (INVALID, NOT_FOUND))
        assert error.reason
        with pytest.raises(type(error), match=f"(?i){message}"):
            raise error
        assert not first.results[1].HasField("output")
        outputs = [first.results[0], first.results[2], second.results[0]]
        assert all(r.status.code == 0 for r in outputs)
        assert len({r.output.data for r in outputs}) == 1
        assert state_of(db) == before
        assert (session.info().tail_tokens, session.info().tail_bytes) == (
            info.tail_tokens,
            info.tail_bytes,
        )


def test_a_request_without_items_is_refused_and_the_stream_lives_on(db, channel, stored):
    stub = session_service_pb2_grpc.SessionServiceStub(channel)
    with db.create_session(stored.model.name, context_id="errors") as session:
        item = make_item(session.session_id, {})
        most = db.info().limits.max_items_per_request
        requests = [
            sessions.AttendRequest(request_id=1),
            sessions.AttendRequest(request_id=2, items=[item] * (most + 1)),
            sessions.AttendRequest(request_id=3, items=[item]),
        ]
        none, many, good = stub.Attend(iter(requests), timeout=20)

    assert [result.status.code for result in none.results] == [INVALID.value[0]]
    assert {result.status.code for result in many.results} == {INVALID.value[0]}
    assert [result.status.code for result in good.results] == [0]


Header = contexts.ImportContextRequest.Header
Chunk = contexts.ImportContextRequest.Chunk
KV_3 = tensor(3, 2, 64)


def whole(layer):
    return Chunk(layer=layer, key=KV_3, value=KV_3)


# What is wrong: header fields, chunks of tokens 1, 2, 3 in two layers, code, word of the message.
# No other context starts with these tokens.
TOKENS = [4000000001, 2, 3]
BAD_IMPORTS = {
    "unknown_model": (dict(model="nobody"), [], NOT_FOUND, "nobody"),
    "no_model": (dict(model=""), [], None, "model"),
    "zero_tokens": (dict(tokens=[]), [], INVALID, "token"),
    "id_in_use": (dict(context_id="errors"), [whole(0), whole(1)], EXISTS, "errors"),
    "bad_id": (dict(context_id="a b"), [], INVALID, "context_id"),
    "long_id": (dict(context_id="a" * 129), [], INVALID, "context_id"),
    "bad_label": (dict(labels={"a b": "c"}), [], INVALID, "label"),
    "long_label": (dict(labels={"a": "c" * 256}), [], INVALID, "label"),
    "zero_ttl": (dict(ttl={"seconds": 0}), [], INVALID, "ttl"),
    "negative_ttl": (dict(ttl={"seconds": -1}), [], INVALID, "ttl"),
    "no_chunks": ({}, [], PRECONDITION, "layer"),
    "missing_layer": ({}, [whole(0)], PRECONDITION, "layer 1"),
    "missing_end": (
        {},
        [Chunk(layer=0, key=KEY, value=KEY), whole(1)],
        PRECONDITION,
        "layer 0",
    ),
    "gap": (
        {},
        [
            Chunk(layer=0, key=KEY, value=KEY),
            Chunk(layer=0, token_begin=2, key=KEY, value=KEY),
        ],
        PRECONDITION,
        "layer 0",
    ),
    "layer_out_of_range": ({}, [whole(2)], INVALID, "layer"),
    "past_the_end": ({}, [Chunk(layer=0, token_begin=1, key=KV_3, value=KV_3)], INVALID, "token"),
    "far_past_the_end": (
        {},
        [Chunk(layer=0, token_begin=(1 << 64) - 1, key=KEY, value=KEY)],
        INVALID,
        "token",
    ),
    "no_value": ({}, [Chunk(layer=0, key=KV_3)], INVALID, "value"),
    "key_dtype": (
        {},
        [Chunk(layer=0, key=tensor(3, 2, 64, dtype=np.float32), value=KV_3)],
        INVALID,
        "dtype",
    ),
    "both_dtype": (
        {},
        [
            Chunk(
                layer=0,
                key=tensor(3, 2, 64, dtype=np.float32),
                value=tensor(3, 2, 64, dtype=np.float32),
            )
        ],
        INVALID,
        "dtype",
    ),
    "heads": ({}, [Chunk(layer=0, key=tensor(3, 8, 64), value=tensor(3, 8, 64))], INVALID, "heads"),
    "key_nan": ({}, [Chunk(layer=0, key=broken(np.nan), value=KEY)], INVALID, "NaN"),
    "value_infinite": ({}, [Chunk(layer=0, key=KEY, value=broken(np.inf))], INVALID, "infinity"),
    "truncated": ({}, [Chunk(layer=0, key=truncated(3, 2, 64), value=KV_3)], INVALID, "bytes"),
    "empty_chunk": ({}, [Chunk()], INVALID, "dtype"),
    "query_heads": (
        {},
        [Chunk(layer=0, key=KV_3, value=KV_3, query=tensor(1, 2, 64))],
        INVALID,
        "query",
    ),
}


def import_messages(header, chunks):
    yield contexts.ImportContextRequest(header=header)
    for chunk in chunks:
        yield contexts.ImportContextRequest(chunk=chunk)


@pytest.mark.parametrize("name", BAD_IMPORTS)
def test_a_malformed_import_stores_nothing(db, channel, stored, name):
    fields, chunks, code, message = BAD_IMPORTS[name]
    header = Header(**({"model": stored.model.name, "tokens": TOKENS} | fields))
    stub = context_service_pb2_grpc.ContextServiceStub(channel)
    before = state_of(db)

    with pytest.raises(grpc.RpcError) as caught:
        stub.ImportContext(import_messages(header, chunks), timeout=20)

    error = from_rpc(caught.value)
    assert error.code in ((code,) if code else (INVALID, NOT_FOUND))
    assert error.reason
    with pytest.raises(type(error), match=f"(?i){message}"):
        raise error
    assert state_of(db) == before
    assert not db.match(stored.model.name, TOKENS)


@pytest.mark.parametrize(
    "messages",
    {
        "nothing": [],
        "empty": [contexts.ImportContextRequest()],
        "chunk_first": [contexts.ImportContextRequest(chunk=whole(0))],
        "two_headers": [contexts.ImportContextRequest(header=Header(model="x", tokens=[1]))] * 2,
    }.items(),
    ids=lambda item: item[0],
)
def test_an_import_out_of_order_is_refused(db, channel, messages):
    stub = context_service_pb2_grpc.ContextServiceStub(channel)
    before = state_of(db)

    with pytest.raises(grpc.RpcError) as caught:
        stub.ImportContext(iter(messages[1]), timeout=20)

    assert caught.value.code() in (INVALID, PRECONDITION, NOT_FOUND)
    assert state_of(db) == before


def model(**fields):
    good = dict(name="bad", num_layers=1, num_query_heads=2, num_kv_heads=1, head_dim=64, dtype=1)
    return admin.RegisterModelRequest(model=model_pb2.Model(**(good | fields)))


# What is wrong: request, code. None: INVALID_ARGUMENT or NOT_FOUND.
BAD_CALLS = {
    "model_missing": (admin.RegisterModelRequest(), INVALID),
    "model_name": (model(name="a b"), INVALID),
    "model_no_name": (model(name=""), INVALID),
    "model_no_layers": (model(num_layers=0), INVALID),
    "model_many_layers": (model(num_layers=1025), INVALID),
    "model_heads": (model(num_query_heads=3, num_kv_heads=2), INVALID),
    "model_no_heads": (model(num_kv_heads=0), INVALID),
    "model_head_dim": (model(head_dim=12), INVALID),
    "model_dtype": (model(dtype=0), INVALID),
    "log_level": (admin.SetLogLevelRequest(), INVALID),
    "match_model": (contexts.MatchContextRequest(model="x"), NOT_FOUND),
    "get": (contexts.GetContextRequest(context_id="x"), NOT_FOUND),
    "get_nothing": (contexts.GetContextRequest(), None),
    "update": (
        contexts.UpdateContextRequest(context_id="x"),
        NOT_FOUND,
    ),
    "delete": (
        contexts.DeleteContextRequest(context_id="x"),
        NOT_FOUND,
    ),
    "list_page": (contexts.ListContextsRequest(page_size=-1), INVALID),
    "list_token": (
        contexts.ListContextsRequest(page_token="%"),
        INVALID,
    ),
    "search": (
        contexts.SearchContextRequest(context_id="x", query=QUERY, top_k=dict(k=1)),
        NOT_FOUND,
    ),
    "search_no_target": (
        contexts.SearchContextRequest(context_id="errors", query=QUERY),
        INVALID,
    ),
    "search_layer": (
        contexts.SearchContextRequest(context_id="errors", layer=2, query=QUERY, top_k=dict(k=1)),
        INVALID,
    ),
    "search_nan": (
        contexts.SearchContextRequest(context_id="errors", query=NAN_QUERY, top_k=dict(k=1)),
        INVALID,
    ),
    "session_model": (
        sessions.CreateSessionRequest(model="x"),
        NOT_FOUND,
    ),
    "store": (
        sessions.StoreSessionRequest(session_id="x", tokens=[1]),
        NOT_FOUND,
    ),
    "fork": (sessions.ForkSessionRequest(session_id="x"), NOT_FOUND),
    "truncate": (
        sessions.TruncateSessionRequest(session_id="x"),
        NOT_FOUND,
    ),
    "close": (sessions.CloseSessionRequest(session_id="x"), NOT_FOUND),
    "info": (sessions.GetSessionRequest(session_id="x"), NOT_FOUND),
    "sessions_page": (
        sessions.ListSessionsRequest(page_size=1001),
        INVALID,
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_a_malformed_call_changes_nothing(db, channel, stored, name):
    request, code = BAD_CALLS[name]
    stubs = {
        admin: admin_service_pb2_grpc.AdminServiceStub,
        contexts: context_service_pb2_grpc.ContextServiceStub,
        sessions: session_service_pb2_grpc.SessionServiceStub,
    }
    [stub] = [stub for module, stub in stubs.items() if hasattr(module, type(request).__name__)]
    method = getattr(stub(channel), type(request).__name__.removesuffix("Request"))
    before = state_of(db)

    with pytest.raises(grpc.RpcError) as caught:
        method(request, timeout=20)

    error = from_rpc(caught.value)
    assert error.code in ((code,) if code else (INVALID, NOT_FOUND))
    assert error.reason
    assert error.message
    assert state_of(db) == before


@pytest.mark.parametrize(
    ("request_fields", "code"),
    [
        (dict(context_id="nobody"), NOT_FOUND),
        (dict(context_id="errors", layers=[2]), INVALID),
        (dict(context_id="errors", token_range=dict(begin=5, end=2)), INVALID),
    ],
    ids=str,
)
def test_a_malformed_read_is_refused(channel, stored, request_fields, code):
    stub = context_service_pb2_grpc.ContextServiceStub(channel)

    with pytest.raises(grpc.RpcError) as caught:
        list(stub.ReadContext(contexts.ReadContextRequest(**request_fields), timeout=20))

    assert caught.value.code() == code


def test_another_shape_under_the_same_name_is_refused(db, stored):
    with pytest.raises(alayadb.AlreadyExistsError, match="test/"):
        db.register_model(
            stored.model.name, num_layers=3, num_query_heads=8, num_kv_heads=2, head_dim=64
        )


def test_storing_with_uneven_layers_is_refused(db, stored):
    with db.create_session(stored.model.name, context_id="errors") as session:
        session.append(0, stored.keys[0, 10:12], stored.values[0, 10:12])
        session.append(1, stored.keys[1, 10:11], stored.values[1, 10:11])
        before = state_of(db)

        with pytest.raises(alayadb.FailedPreconditionError):
            session.store(stored.tokens[:12])
        with pytest.raises(alayadb.AlayaError):
            session.store(stored.tokens[:11])

        assert state_of(db) == before
        session.append(1, stored.keys[1, 11:12], stored.values[1, 11:12])
        assert db.context(session.store(stored.tokens[:12])).token_count == 12


def test_storing_under_wrong_tokens_is_refused(db, stored):
    with db.create_session(stored.model.name, context_id="errors") as session:
        for layer in range(2):
            session.append(layer, stored.keys[layer, 10:12], stored.values[layer, 10:12])
        for tokens in (stored.tokens[:11], stored.tokens[:13], [0, *stored.tokens[1:12]], []):
            with pytest.raises(alayadb.AlayaError) as caught:
                session.store(tokens)
            assert caught.value.code in (INVALID, PRECONDITION)
        with pytest.raises(alayadb.AlreadyExistsError):
            session.store(stored.tokens[:12], context_id="errors")


def test_a_closed_session_is_gone(db, stored):
    session = db.create_session(stored.model.name, context_id="errors")
    session.close()

    with pytest.raises(alayadb.NotFoundError, match=session.session_id):
        session.attend(0, stored.queries(1))


def test_truncating_beyond_the_end_is_refused(db, stored):
    with db.create_session(stored.model.name, context_id="errors") as session:
        with pytest.raises(alayadb.InvalidArgumentError):
            session.truncate(11)
        assert session.info().reused_tokens == 10


def test_requests_beyond_a_limit_are_refused_and_the_next_is_served(db, stored):
    limits = db.info().limits
    query_bytes = stored.queries(1).nbytes
    with db.create_session(stored.model.name, context_id="errors") as session:
        before = session.info()
        for count in (limits.max_queries_per_item + 1, limits.max_message_bytes // query_bytes + 1):
            with pytest.raises(alayadb.ResourceExhaustedError, match=str(count) + "|larger than"):
                session.attend(0, np.ones((count, 8, 64), alayadb.bfloat16))
            assert session.attend(0, stored.queries(1)).output.shape == (1, 8, 64)
        with pytest.raises(alayadb.ResourceExhaustedError, match="max_context_tokens"):
            db.match(stored.model.name, np.zeros(limits.max_context_tokens + 1, np.uint32))

        assert session.info().tail_tokens == before.tail_tokens


def test_an_import_that_takes_too_long_stores_nothing(db, stored):
    before = state_of(db)

    def slow(layer):
        time.sleep(0.5)
        return stored.keys[layer]

    with pytest.raises(alayadb.DeadlineError):
        db.import_context(stored.model.name, stored.tokens, slow, stored.values, timeout=0.3)

    assert state_of(db) == before
