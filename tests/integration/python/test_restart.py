"""What survives kill -9, and what the client makes of it."""

import os

import numpy as np
import pytest

import alayadb

from workload import check, make_sequence, pose


def test_contexts_survive_kill_and_sessions_do_not(start_server):
    server = start_server()
    with server.connect() as db:
        sequence = make_sequence(db, 1200)
        first = sequence.store(db, 1000)
        session = db.create_session(sequence.model.name, sequence.tokens)
        for layer in range(2):
            rows = slice(1000, 1200)
            session.append(layer, sequence.keys[layer, rows], sequence.values[layer, rows])
        second = session.store(sequence.tokens)
        server.kill()
        with pytest.raises(alayadb.UnavailableError):
            session.append(0, sequence.keys[0, :1], sequence.values[0, :1])

    server.start()

    with server.connect() as db:
        assert {c.context_id for c in db.contexts()} == {first, second}
        assert db.models() == [sequence.model]
        np.testing.assert_array_equal(db.load_context(second)[0], sequence.keys)
        query, exact = pose(sequence, 1)
        with pytest.raises(alayadb.NotFoundError):
            db.attend_many([alayadb.AttendItem(session, 0, query)])
        assert list(db.sessions()) == []
        with db.create_session(sequence.model.name, sequence.tokens) as again:
            assert (again.context_id, again.reused_tokens) == (second, 1200)
            check(again.attend(1, query, target=alayadb.Full()), exact)


def test_a_client_finds_the_server_that_came_back(start_server, tmp_path):
    server = start_server(listen=f"unix:{tmp_path}/socket")
    with server.connect() as db:
        sequence = make_sequence(db, 100)
        sequence.store(db, context_id="kept")
        query = sequence.queries(1)
        session = db.create_session(sequence.model.name, context_id="kept")
        session.attend(0, query)
        server.kill()
        server.start()
        assert db.context("kept").token_count == 100
        with pytest.raises(alayadb.NotFoundError):
            session.attend(0, query)
        with db.create_session(sequence.model.name, context_id="kept") as again:
            again.attend(0, query)


def test_an_import_that_was_killed_leaves_nothing(start_server):
    server = start_server()
    with server.connect() as db:
        sequence = make_sequence(db, 20_000)
        sequence.store(db, 100, context_id="whole")

        def keys(layer):
            if layer == 1:
                server.kill()
            return sequence.keys[layer]

        with pytest.raises(alayadb.UnavailableError):
            db.import_context(
                sequence.model.name,
                sequence.tokens,
                keys,
                sequence.values,
                context_id="half",
            )

    server.start()

    with server.connect() as db:
        assert [c.context_id for c in db.contexts()] == ["whole"]
        assert db.match(sequence.model.name, sequence.tokens) == alayadb.Match("whole", 100)
        sequence.store(db, context_id="half")
        np.testing.assert_array_equal(db.load_context("half")[1], sequence.values)


def test_a_terminated_server_drains_and_exits_with_0(start_server):
    server = start_server()
    with server.connect() as db:
        sequence = make_sequence(db, 50)
        sequence.store(db)
        session = db.create_session(sequence.model.name, sequence.tokens)
        session.attend(0, sequence.queries(1))

        assert server.terminate() == 0

        with pytest.raises(alayadb.UnavailableError):
            session.attend(0, sequence.queries(1))


def test_a_unix_socket_serves_as_well(start_server, tmp_path):
    path = tmp_path / "alaya.socket"
    server = start_server(listen=f"unix:{path}")

    with server.connect() as db:
        assert db.info().version

    assert os.path.exists(path)
