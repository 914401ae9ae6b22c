"""Sessions and attention through the client, against the oracle."""

import threading

import numpy as np
import pytest

import alayadb
from alayadb.testing import exact_attention


@pytest.fixture
def context_id(db, kv):
    tokens, keys, values = kv
    return db.import_context("m", tokens, keys, values, context_id="c").context_id


TARGETS = [alayadb.Full(), alayadb.Dipr(0.3), alayadb.TopK(3), alayadb.Mass(0.6), None]


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, alayadb.bfloat16], ids=str)
def test_attention_follows_every_option(db, kv, context_id, rng, target, dtype):
    _tokens, keys, values = kv
    query = rng.standard_normal((2, 4, 16)).astype(dtype)
    window = alayadb.Window(sink=1, recent=2)
    with db.create_session("m", context_id=context_id) as session:
        answer = session.attend(
            1, query, target=target, window=window, scale=0.5, token_range=(3, 30), explain=True
        )

    exact = exact_attention(
        query,
        keys[1],
        values[1],
        target=target or alayadb.Dipr(),
        window=window,
        scale=0.5,
        token_range=(3, 30),
    )
    assert answer.output.dtype == dtype
    assert answer.output.shape == (2, 4, 16)
    np.testing.assert_allclose(answer.output.astype(float), exact.output, atol=1e-2)
    np.testing.assert_allclose(answer.log_sum_exp, exact.log_sum_exp, rtol=1e-5)
    np.testing.assert_array_equal(answer.stats.head_tokens_attended, exact.attended.sum(-1))
    assert answer.stats.tokens_attended == exact.attended.sum()
    assert answer.stats.plans[0].index == "exact"
    assert answer.stats.tier == "memory"


def test_a_window_of_nothing_is_not_the_default_window(db, context_id, rng, state):
    query = rng.standard_normal((4, 16)).astype(np.float32)
    with db.create_session("m", context_id=context_id) as session:
        session.attend(0, query, window=alayadb.Window(0, 0), token_range=(0, None))
        session.attend(0, query)

    given, default = (request.items[0].options for request in state.attend_requests)
    assert given.HasField("window")
    assert given.HasField("token_range")
    assert not default.HasField("window")
    assert not default.HasField("token_range")


def test_one_query_needs_no_token_dimension(db, context_id, rng):
    query = rng.standard_normal((4, 16)).astype(np.float32)
    with db.create_session("m", context_id=context_id) as session:
        one, many = session.attend(0, query), session.attend(0, query[np.newaxis])

    assert (one.output.shape, one.log_sum_exp.shape) == ((4, 16), (4,))
    np.testing.assert_array_equal(one.output, many.output[0])


def test_a_decoded_session_is_stored_and_matched(db, kv, context_id, rng):
    tokens, keys, values = kv
    with db.create_session("m", [*tokens[:10], 1, 2]) as session:
        assert (session.context_id, session.reused_tokens) == ("c", 10)
        new = rng.standard_normal((2, 2, 2, 2, 16)).astype(np.float32)  # layer, k/v, T, heads
        for layer in range(2):
            query = rng.standard_normal((2, 4, 16)).astype(np.float32)
            answer = session.attend(layer, query, *new[layer], target=alayadb.Full())
            exact = exact_attention(
                query,
                np.concatenate([keys[layer, :10], new[layer, 0]]),
                np.concatenate([values[layer, :10], new[layer, 1]]),
                causal=True,
            )
            np.testing.assert_allclose(answer.output, exact.output, rtol=1e-4, atol=1e-5)
        stored = session.store([*tokens[:10], 1, 2], context_id="d", labels={"a": "b"}, ttl=60)

    assert stored == "d"
    assert db.match("m", [*tokens[:10], 1, 2, 3]) == alayadb.Match("d", 12)
    context = db.context("d")
    assert dict(context.labels) == {"a": "b"}
    assert (context.expire_time - context.create_time).total_seconds() == pytest.approx(60, abs=1)


def test_reuse_can_be_limited(db, kv, context_id):
    with db.create_session("m", kv[0], reuse_limit=5) as session:
        assert session.reused_tokens == 5


def test_fork_truncate_info_and_close(db, context_id, rng):
    key = rng.standard_normal((3, 2, 16)).astype(np.float32)
    session = db.create_session("m", context_id=context_id)
    session.append(0, key, key)

    fork = session.fork()
    session.truncate(20)

    assert fork.reused_tokens == 40
    assert fork.info().tail_tokens == 3
    assert session.reused_tokens == 20
    assert session.info().tail_tokens == 0
    assert {s.session_id for s in db.sessions()} == {session.session_id, fork.session_id}
    session.close()
    session.close()
    fork.close()
    assert list(db.sessions()) == []


def test_the_with_block_closes_the_session(db, state):
    with db.create_session("m"):
        assert len(state.sessions) == 1

    assert state.sessions == {}


def test_many_items_travel_in_one_request(db, context_id, rng, state):
    query = rng.standard_normal((4, 16)).astype(np.float32)
    with db.create_session("m", context_id=context_id) as session:
        items = [alayadb.AttendItem(session, layer, query) for layer in (0, 1, 0)]
        answers = db.attend_many(items)

    assert len(state.attend_requests) == 1
    np.testing.assert_array_equal(answers[0].output, answers[2].output)
    assert not np.array_equal(answers[0].output, answers[1].output)


def test_a_failed_item_of_many_fails_alone(db, context_id, rng):
    query = rng.standard_normal((4, 16)).astype(np.float32)
    with db.create_session("m", context_id=context_id) as session:
        gone = db.create_session("m")
        gone.close()
        items = [alayadb.AttendItem(s, 0, query) for s in (session, gone, session)]

        first, second, third = db.attend_many(items, return_exceptions=True)
        with pytest.raises(alayadb.NotFoundError):
            db.attend_many(items)

    assert isinstance(second, alayadb.NotFoundError)
    np.testing.assert_array_equal(first.output, third.output)


def test_an_item_without_query_answers_with_no_tokens(db, rng):
    key = rng.standard_normal((3, 2, 16)).astype(np.float32)
    with db.create_session("m") as session:
        [answer] = db.attend_many([alayadb.AttendItem(session, 0, key=key, value=key)])

    assert answer.output.shape == (0, 4, 16)
    assert answer.log_sum_exp.shape == (0, 4)


def test_a_pipeline_answers_in_any_order_of_asking(db, context_id, rng, state):
    queries = rng.standard_normal((5, 4, 16)).astype(np.float32)
    with db.create_session("m", context_id=context_id) as session, db.attend_stream() as stream:
        expected = [session.attend(0, q).output for q in queries]
        pending = [stream.submit(alayadb.AttendItem(session, 0, q)) for q in queries]
        for i in (3, 0, 4, 1, 2):
            np.testing.assert_array_equal(pending[i].result()[0].output, expected[i])
        assert all(p.done for p in pending)

    assert state.attend_streams == 2  # the pipeline's and the pool's


def test_threads_share_a_pipeline(db, context_id, rng):
    queries = rng.standard_normal((8, 20, 4, 16)).astype(np.float32)
    failures = []
    with db.create_session("m", context_id=context_id) as session, db.attend_stream() as stream:
        expected = session.attend(0, queries.reshape(-1, 4, 16)).output.reshape(8, 20, 4, 16)

        def work(thread):
            for step in range(20):
                item = alayadb.AttendItem(session, 0, queries[thread, step])
                output = stream.submit(item).result(timeout=20)[0].output
                if not np.allclose(output, expected[thread, step], atol=1e-6):
                    failures.append((thread, step))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert failures == []


def test_a_waiter_gets_its_answer_while_another_still_waits(db, context_id, rng, state):
    query = rng.standard_normal((4, 16)).astype(np.float32)
    with db.create_session("m", context_id=context_id) as session, db.attend_stream() as stream:
        state.attend_delay = 0.5
        first = stream.submit(alayadb.AttendItem(session, 0, query))
        second = stream.submit(alayadb.AttendItem(session, 0, query))
        waiter = threading.Thread(target=second.result)
        waiter.start()
        waiter.join(0.1)  # by now it reads for both

        first.result()

        assert not second.done
        waiter.join()
        assert second.done


def test_a_late_answer_ends_the_pipeline_for_all(db, context_id, rng, state):
    query = rng.standard_normal((4, 16)).astype(np.float32)
    with db.create_session("m", context_id=context_id) as session, db.attend_stream() as stream:
        state.attend_delay = 1.0
        first = stream.submit(alayadb.AttendItem(session, 0, query))
        second = stream.submit(alayadb.AttendItem(session, 0, query))

        with pytest.raises(alayadb.DeadlineError):
            first.result(timeout=0.2)
        with pytest.raises(alayadb.UnavailableError, match="another request"):
            second.result()
        with pytest.raises(alayadb.UnavailableError, match="has ended"):
            stream.submit(alayadb.AttendItem(session, 0, query))


def test_a_closed_client_gives_up_what_is_in_flight(server, db, context_id, rng, state):
    query = rng.standard_normal((4, 16)).astype(np.float32)
    caught = []
    client = alayadb.connect(server.address)
    session = client.create_session("m", context_id=context_id)
    state.attend_delay = 3.0

    def work():
        try:
            session.attend(0, query)
        except alayadb.AlayaError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not state.attend_requests:
        thread.join(0.01)
    client.close()
    thread.join(10)

    assert [type(e) for e in caught] == [alayadb.CancelledCallError]
    for call in (lambda: session.attend(0, query), session.info, client.models):
        with pytest.raises(alayadb.CancelledCallError, match="client is closed"):
            call()


def test_calls_one_after_another_share_a_stream(db, context_id, rng, state):
    query = rng.standard_normal((4, 16)).astype(np.float32)
    with db.create_session("m", context_id=context_id) as session:
        for _ in range(10):
            session.attend(0, query)

    assert state.attend_streams == 1
