"""Errors: classes, codes, ErrorInfo, and what is refused before anything is sent."""

import time

import grpc
import numpy as np
import pytest

import alayadb


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def test_a_server_error_carries_code_message_and_reason(db):
    with pytest.raises(alayadb.NotFoundError) as caught:
        db.context("nowhere")

    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert caught.value.message == "context 'nowhere' is unknown"
    assert caught.value.reason == "NOT_FOUND"
    assert caught.value.metadata == {"id": "x"}
    assert str(caught.value) == "context 'nowhere' is unknown [NOT_FOUND, NOT_FOUND]"


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (alayadb.InvalidArgumentError, ValueError),
        (alayadb.NotFoundError, LookupError),
        (alayadb.UnavailableError, ConnectionError),
        (alayadb.DeadlineError, TimeoutError),
        (alayadb.PermissionDeniedError, PermissionError),
    ],
)
def test_errors_are_also_the_builtin_ones(error, builtin):
    raised = error("what happened")

    assert isinstance(raised, builtin)
    assert raised.message == "what happened"
    assert raised.code is error.default_code


def test_an_unknown_model_is_refused(db):
    with pytest.raises(alayadb.NotFoundError, match="model 'other'"):
        db.create_session("other", [1])


def test_the_same_name_with_another_shape_is_refused(db):
    with pytest.raises(alayadb.AlreadyExistsError, match="another shape"):
        db.register_model("m", num_layers=3, num_query_heads=4, num_kv_heads=2, head_dim=16)


LOCALLY_REFUSED = {
    "query_heads": (dict(query=zeros(1, 3, 16)), r"query shape \[1,3,16\].*4 query heads"),
    "query_head_dim": (dict(query=zeros(1, 4, 8)), "head_dim 16"),
    "query_rank": (dict(query=zeros(16)), r"query shape \[16\]"),
    "query_tokens": (dict(query=zeros(0, 4, 16)), "0 tokens"),
    "query_dtype": (dict(query=zeros(4, 16, dtype=np.float64)), "query dtype float64"),
    "key_heads": (dict(key=zeros(1, 4, 16), value=zeros(1, 2, 16)), "2 KV heads"),
    "key_dtype": (
        dict(key=zeros(1, 2, 16, dtype=np.float16), value=zeros(1, 2, 16)),
        "key dtype float16: the model's dtype is float32",
    ),
    "value_missing": (dict(key=zeros(1, 2, 16)), "both or neither"),
    "value_tokens": (dict(key=zeros(2, 2, 16), value=zeros(1, 2, 16)), "same number of tokens"),
    "query_and_key": (
        dict(query=zeros(1, 4, 16), key=zeros(2, 2, 16), value=zeros(2, 2, 16)),
        "same number of tokens",
    ),
    "nothing": (dict(query=None), "nothing to do"),
    "layer": (dict(layer=2), r"layer 2: model 'm' has layers 0\.\.1"),
    "negative_layer": (dict(layer=-1), "layer -1"),
    "alpha": (dict(target=alayadb.Dipr(0)), "alpha"),
    "k": (dict(target=alayadb.TopK(0)), "top_k 0"),
    "fraction": (dict(target=alayadb.Mass(1.5)), "fraction 1.5"),
    "target": (dict(target="full"), "use Full"),
    "window": (dict(window=alayadb.Window(-1, 0)), "window"),
    "empty_range": (dict(token_range=(4, 4)), r"\[4, 4\)"),
    "zero_range": (dict(token_range=(0, 0)), r"\[0, 0\)"),
    "range_step": (dict(token_range=slice(0, 4, 2)), "step"),
}


@pytest.mark.parametrize("name", LOCALLY_REFUSED)
def test_a_wrong_attend_is_refused_before_it_is_sent(name, db, state):
    arguments, message = LOCALLY_REFUSED[name]
    arguments = {"layer": 0, "query": zeros(1, 4, 16)} | arguments
    if "key" in arguments and name != "query_and_key":
        arguments["query"] = None

    session = db.create_session("m", [1])
    with pytest.raises(alayadb.InvalidArgumentError, match=message):
        session.attend(**arguments)

    assert state.attend_requests == []


def test_a_failed_item_raises_and_the_stream_lives_on(db, state):
    with db.create_session("m") as session:
        key = zeros(1, 2, 16)
        with pytest.raises(alayadb.FailedPreconditionError, match="ahead") as caught:
            session.append(1, key, key)
        session.append(0, key, key)
        session.append(1, key, key)

    assert caught.value.reason == "LAYER_ORDER"
    assert state.attend_streams == 1


def test_an_attend_that_takes_too_long_raises_in_time(db, state):
    with db.create_session("m") as session:
        key = zeros(1, 2, 16)
        session.append(0, key, key)
        state.attend_delay = 1.5

        with pytest.raises(alayadb.DeadlineError, match=r"0\.2 s"):
            session.attend(0, zeros(4, 16), timeout=0.2)

        state.attend_delay = 0
        assert session.attend(0, zeros(4, 16)).output.shape == (4, 16)


def test_no_server_is_a_clear_error():
    with pytest.raises(alayadb.UnavailableError, match=r"no server answered at 127.0.0.1:1 "):
        alayadb.connect("127.0.0.1:1", connect_timeout=0.3)


def test_a_read_that_met_a_broken_connection_is_repeated(db, state):
    with db.create_session("m") as session:
        key = zeros(1, 2, 16)
        session.append(0, key, key)
        state.attend_breaks = 1

        session.attend(0, zeros(4, 16))


def test_an_append_that_met_a_broken_connection_is_not_repeated(db, state):
    with db.create_session("m") as session:
        key = zeros(1, 2, 16)
        state.attend_breaks = 1

        with pytest.raises(alayadb.UnavailableError, match="broke"):
            session.append(0, key, key)

        assert session.info().tail_tokens == 0
        session.append(0, key, key)
        assert session.info().tail_tokens == 1


def test_idempotent_calls_are_repeated_while_the_server_is_away(db, state):
    state.unavailable_calls = 2

    assert db.stats().contexts == 0
    assert state.unavailable_calls == 0


def test_a_stream_that_ended_while_idle_is_not_used_again(db, server, state):
    key = zeros(1, 2, 16)
    session = db.create_session("m")
    session.append(0, key, key)
    server.stop()
    server.start()
    [idle] = db._streams._idle
    while idle.alive:
        time.sleep(0.01)

    session.append(0, key, key)  # would raise: an append is not repeated

    assert state.attend_streams == 2


def test_the_client_finds_a_restarted_server(db, server, state):
    key = zeros(1, 2, 16)
    session = db.create_session("m")
    session.append(0, key, key)
    server.stop()
    state.sessions.clear()

    with pytest.raises(alayadb.UnavailableError):
        db.create_session("m")
    with pytest.raises(alayadb.UnavailableError):
        session.append(0, key, key)
    server.start()

    assert db.info().version == "0.0.0-fake"
    with pytest.raises(alayadb.NotFoundError, match="session"):
        session.attend(0, zeros(4, 16))
    session.close()
    with db.create_session("m") as again:
        again.append(0, key, key)
