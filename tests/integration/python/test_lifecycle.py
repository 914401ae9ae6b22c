"""Contexts and sessions from birth to deletion."""

import numpy as np
import pytest

import alayadb

from workload import check, make_sequence, pose


def decode(session, sequence, begin, end):
    """Appends tokens [begin, end) of the sequence to all layers."""
    for layer in range(sequence.model.num_layers):
        rows = slice(begin, end)
        session.append(layer, sequence.keys[layer, rows], sequence.values[layer, rows])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_was_imported_is_read_back_bit_for_bit(db, dtype):
    sequence = make_sequence(db, 3001, dtype=dtype)
    context_id = sequence.store(db)

    keys, values = db.load_context(context_id)
    part, _ = db.load_context(context_id, layers=[1], token_range=(1000, 2001))

    np.testing.assert_array_equal(keys.view(np.uint8), sequence.keys.view(np.uint8))
    np.testing.assert_array_equal(values.view(np.uint8), sequence.values.view(np.uint8))
    np.testing.assert_array_equal(part[0], sequence.keys[1, 1000:2001])
    np.testing.assert_array_equal(db.context_tokens(context_id), sequence.tokens)
    context = db.context(context_id)
    assert (context.model, context.token_count) == (sequence.model.name, 3001)
    assert context.stored_bytes >= keys.nbytes + values.nbytes


def test_a_stored_session_is_the_prefix_of_another(db):
    sequence = make_sequence(db, 1400)
    first = sequence.store(db, 1000)
    name = sequence.model.name

    with db.create_session(name, sequence.tokens) as session:
        assert (session.context_id, session.reused_tokens) == (first, 1000)
        decode(session, sequence, 1000, 1300)
        second = session.store(sequence.tokens[:1300], labels={"turn": "2"})
        # It stays open and goes on.
        decode(session, sequence, 1300, 1301)

    assert db.match(name, sequence.tokens) == alayadb.Match(second, 1300)
    assert db.context(second).segment_count == 2
    query, exact = pose(sequence, 1, token_count=1300)
    with db.create_session(name, sequence.tokens) as session:
        assert (session.context_id, session.reused_tokens) == (second, 1300)
        check(session.attend(1, query, target=alayadb.Full()), exact)
    keys, _ = db.load_context(second)
    np.testing.assert_array_equal(keys, sequence.keys[:, :1300])


def test_a_session_sees_only_the_prefix_that_it_shares(db):
    sequence = make_sequence(db, 900)
    sequence.store(db)
    query, exact = pose(sequence, 0, token_count=333)

    with db.create_session(sequence.model.name, [*sequence.tokens[:333], 7, 8]) as session:
        assert session.reused_tokens == 333
        answer = session.attend(0, query, target=alayadb.Full())

    check(answer, exact)


def test_an_import_sends_only_what_is_not_stored(db):
    sequence = make_sequence(db, 2000)
    sequence.store(db, 1500)
    sent = []

    result = db.import_context(
        sequence.model.name,
        sequence.tokens,
        sequence.keys,
        sequence.values,
        progress=lambda done, total: sent.append((done, total)),
    )

    assert result.reused_tokens == 1500
    new_bytes = 2 * sequence.keys[:, 1500:].nbytes
    assert sent[-1] == (new_bytes, new_bytes)
    np.testing.assert_array_equal(db.load_context(result.context_id)[1], sequence.values)


def test_sampled_queries_are_accepted(db):
    sequence = make_sequence(db, 2500)
    queries = [sequence.queries(400, seed) for seed in range(2)]

    context_id = sequence.store(db, queries=queries)

    assert db.context(context_id).token_count == 2500


def test_models_do_not_share_prefixes(db):
    first = make_sequence(db, 200)
    second = make_sequence(db, 200)
    first.store(db)

    assert not db.match(second.model.name, first.tokens)


def test_fork_and_truncate(db):
    sequence = make_sequence(db, 700)
    sequence.store(db, 600)
    query, exact = pose(sequence, 0)
    _, exact_cut = pose(sequence, 0, token_count=550)
    with db.create_session(sequence.model.name, sequence.tokens) as session:
        decode(session, sequence, 600, 700)
        with session.fork() as fork:
            session.truncate(550)
            forked = fork.attend(0, query, target=alayadb.Full())
            assert fork.info().tail_tokens == 100
        cut = session.attend(0, query, target=alayadb.Full())
        info = session.info()

    check(forked, exact)
    check(cut, exact_cut)
    assert (info.reused_tokens, info.tail_tokens) == (550, 0)


def test_listing_updating_and_deleting(db):
    sequence = make_sequence(db, 300)
    name = sequence.model.name
    ids = [
        sequence.store(db, count, labels={"size": str(count)}, ttl=3600)
        for count in (100, 150, 200)
    ]

    assert [c.context_id for c in db.contexts(name, page_size=1)] == ids[::-1]
    assert [c.context_id for c in db.contexts(name, labels={"size": "150"})] == ids[1:2]
    assert db.context(ids[0]).expire_time is not None
    assert db.update_context(ids[0], pinned=True, ttl=0).expire_time is None
    assert dict(db.update_context(ids[0], labels={"new": "x"}).labels) == {"new": "x"}
    assert db.context(ids[0]).pinned
    for context_id in ids:
        db.delete_context(context_id)
    assert list(db.contexts(name)) == []
    assert not db.match(name, sequence.tokens)


def test_a_session_outlives_its_context(db):
    sequence = make_sequence(db, 800)
    context_id = sequence.store(db)
    query, exact = pose(sequence, 0)
    with db.create_session(sequence.model.name, context_id=context_id) as session:
        db.delete_context(context_id)
        answer = session.attend(0, query, target=alayadb.Full())

    check(answer, exact)


def test_sessions_are_listed_until_they_are_closed(db):
    sequence = make_sequence(db, 1)
    with db.create_session(sequence.model.name) as first:
        with db.create_session(sequence.model.name) as second:
            listed = {s.session_id for s in db.sessions(page_size=1)}
            assert {first.session_id, second.session_id} <= listed
        assert second.session_id not in {s.session_id for s in db.sessions()}


def test_the_server_describes_itself(db):
    sequence = make_sequence(db, 500)
    sequence.store(db)

    info, stats = db.info(), db.stats()

    assert info.version
    assert info.limits.max_sessions > 0
    assert any(d.name == "cpu" for d in info.devices)
    assert stats.contexts >= 1
    assert stats.stored_tokens >= 500
    assert stats.process_resident_bytes > 0
    assert sequence.model in db.models()
    registered = db.register_model(
        sequence.model.name,
        num_layers=2,
        num_query_heads=8,
        num_kv_heads=2,
        head_dim=64,
        dtype="bfloat16",
    )
    assert registered == sequence.model
