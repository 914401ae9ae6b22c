"""Many sessions on many threads, one client."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

import alayadb
from alayadb.testing import exact_attention

from workload import check, make_sequence

SESSIONS, THREADS, CONTEXT_TOKENS, STEPS = 16, 4, 500, 6


def test_sixteen_sessions_decode_on_four_threads(db):
    sequence = make_sequence(db, CONTEXT_TOKENS)
    context_id = sequence.store(db)
    others = [make_sequence(db, STEPS, seed=i) for i in range(SESSIONS)]
    window = alayadb.Window(4, 16)

    def decode(number):
        new = others[number]
        answers = []
        with db.create_session(sequence.model.name, context_id=context_id) as session:
            for step in range(STEPS):
                rows = slice(step, step + 1)
                for layer in range(2):
                    query = sequence.queries(1, seed=100 * number + step)
                    answers.append(
                        session.attend(
                            layer,
                            query,
                            new.keys[layer, rows],
                            new.values[layer, rows],
                            target=alayadb.Full(),
                            window=window,
                        )
                    )
            stored = session.store([*sequence.tokens, *new.tokens])
        return answers, stored

    with ThreadPoolExecutor(THREADS) as threads:
        results = list(threads.map(decode, range(SESSIONS)))

    for number, (answers, stored) in enumerate(results):
        new = others[number]
        for step in range(STEPS):
            for layer in range(2):
                keys = np.concatenate([sequence.keys[layer], new.keys[layer, : step + 1]])
                values = np.concatenate([sequence.values[layer], new.values[layer, : step + 1]])
                query = sequence.queries(1, seed=100 * number + step)
                check(answers[2 * step + layer], exact_attention(query, keys, values))
        keys, _ = db.load_context(stored, token_range=(CONTEXT_TOKENS, None))
        np.testing.assert_array_equal(keys, new.keys)


def test_a_pipeline_and_single_calls_give_the_same(db):
    sequence = make_sequence(db, 700)
    context_id = sequence.store(db)
    queries = [sequence.queries(1, seed) for seed in range(24)]
    name = sequence.model.name
    sessions = [db.create_session(name, context_id=context_id) for _ in range(8)]
    pairs = list(zip(sessions * 3, queries))

    single = [session.attend(1, query).output for session, query in pairs]
    items = [alayadb.AttendItem(session, 1, query) for session, query in pairs]
    many = [answer.output for answer in db.attend_many(items)]
    with db.attend_stream() as stream:
        pending = [stream.submit(item) for item in items]
        piped = [p.result()[0].output for p in reversed(pending)][::-1]

    np.testing.assert_array_equal(many, single)
    np.testing.assert_array_equal(piped, single)
    for session in sessions:
        session.close()
