"""Attention over gRPC against its definition in float64."""

import numpy as np
import pytest

import alayadb
from alayadb.testing import exact_attention

from workload import check, make_sequence, pose

DTYPES = ["float32", "float16", "bfloat16"]
# More than the default window of 128 + 512 and no multiple of any block.
TOKENS = 1501

TARGETS = {
    "default": None,
    "full": alayadb.Full(),
    "dipr": alayadb.Dipr(0.012),
    "narrow_dipr": alayadb.Dipr(0.4),
    "top_1": alayadb.TopK(1),
    "top_50": alayadb.TopK(50),
    "more_than_all": alayadb.TopK(1_000_000),
    "mass": alayadb.Mass(0.8),
}
WINDOWS = {
    "default_window": None,
    "no_window": alayadb.Window(0, 0),
    "small_window": alayadb.Window(4, 16),
}


@pytest.fixture(scope="module", params=DTYPES)
def stored(request, server):
    """A sequence of each dtype and a context of its tokens."""
    with server.connect() as db:
        sequence = make_sequence(db, TOKENS, dtype=request.param)
        return sequence, sequence.store(db)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_equals_its_definition(db, stored, target, window):
    sequence, context_id = stored
    target, window = TARGETS[target], WINDOWS[window]
    with db.create_session(sequence.model.name, context_id=context_id) as session:
        assert session.reused_tokens == TOKENS
        for layer in range(sequence.model.num_layers):
            query, exact = pose(
                sequence,
                layer,
                target=target or alayadb.Full(),  # the default for contexts without an index
                window=window or alayadb.Window(),
            )

            answer = session.attend(layer, query, target=target, window=window, tail_estimate=False)

            check(answer, exact)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_output_has_the_dtype_of_the_query(db, stored, dtype):
    sequence, context_id = stored
    dtype = alayadb.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    query, exact = pose(sequence, 1, 2, dtype=dtype)
    with db.create_session(sequence.model.name, context_id=context_id) as session:
        answer = session.attend(1, query, target=alayadb.Full())

    assert answer.output.dtype == dtype
    check(answer, exact)


@pytest.mark.parametrize("target", [alayadb.Full(), alayadb.Dipr(0.05)], ids=str)
@pytest.mark.parametrize("token_range", [(0, 700), (3, 4), (600, 1400), (1200, TOKENS)])
def test_a_token_range_hides_all_other_tokens(db, stored, target, token_range):
    sequence, context_id = stored
    options = dict(target=target, window=alayadb.Window(8, 32), token_range=token_range)
    query, exact = pose(sequence, 0, **options)
    with db.create_session(sequence.model.name, context_id=context_id) as session:
        answer = session.attend(0, query, tail_estimate=False, **options)

    check(answer, exact)


def test_the_scale_is_the_callers(db, stored):
    sequence, context_id = stored
    options = dict(target=alayadb.Full(), scale=0.02)
    query, exact = pose(sequence, 0, **options)
    with db.create_session(sequence.model.name, context_id=context_id) as session:
        answer = session.attend(0, query, **options)

    check(answer, exact)


@pytest.mark.parametrize("target", [alayadb.Full(), alayadb.Dipr(0.1), alayadb.TopK(9)], ids=str)
def test_new_tokens_see_the_past_and_each_other_causally(db, stored, target):
    sequence, context_id = stored
    held = reused = 1300
    options = dict(target=target, window=alayadb.Window(4, 8))
    with db.create_session(
        sequence.model.name, context_id=context_id, reuse_limit=reused
    ) as session:
        assert session.reused_tokens == reused
        for count in (1, 7, 1, 20):
            new = slice(held, held + count)
            for layer in range(sequence.model.num_layers):
                query, exact = pose(
                    sequence,
                    layer,
                    count,
                    token_count=new.stop,
                    tail_begin=reused,
                    causal=True,
                    **options,
                )

                key, value = sequence.keys[layer, new], sequence.values[layer, new]
                answer = session.attend(layer, query, key, value, tail_estimate=False, **options)

                check(answer, exact)
            held += count


def test_a_session_grows_from_nothing(db):
    sequence = make_sequence(db, 12)
    query, exact = pose(sequence, 0, 12, causal=True)
    with db.create_session(sequence.model.name) as session:
        assert (session.reused_tokens, session.context_id) == (0, "")
        nothing = session.attend(0, query[:1])
        answer = session.attend(0, query, sequence.keys[0], sequence.values[0])

    assert np.isneginf(nothing.log_sum_exp).all()
    assert (nothing.output == 0).all()
    check(answer, exact)


@pytest.mark.parametrize(
    "shape",
    [
        dict(num_query_heads=4, num_kv_heads=4, head_dim=128),
        dict(num_query_heads=32, num_kv_heads=8, head_dim=128),
        dict(num_query_heads=16, num_kv_heads=1, head_dim=96),
        dict(num_query_heads=2, num_kv_heads=2, head_dim=8),
    ],
    ids=str,
)
def test_every_shape_of_heads(db, shape):
    sequence = make_sequence(db, 777, num_layers=1, **shape)
    context_id = sequence.store(db)
    with db.create_session(sequence.model.name, context_id=context_id) as session:
        for target in (alayadb.Full(), alayadb.TopK(20)):
            options = dict(target=target, window=alayadb.Window(2, 2))
            query, exact = pose(sequence, 0, 2, **options)

            answer = session.attend(0, query, tail_estimate=False, **options)

            check(answer, exact)


def test_explain_tells_what_was_done(db, stored):
    sequence, context_id = stored
    options = dict(target=alayadb.Dipr(0.1), window=alayadb.Window(4, 16))
    query, exact = pose(sequence, 0, 2, **options)
    full = exact_attention(query, sequence.keys[0], sequence.values[0])
    with db.create_session(sequence.model.name, context_id=context_id) as session:
        plain = session.attend(0, query)
        stats = session.attend(0, query, tail_estimate=False, explain=True, **options).stats

    np.testing.assert_array_equal(stats.head_tokens_attended, exact.attended.sum(-1))
    share = np.exp(exact.log_sum_exp - full.log_sum_exp)
    np.testing.assert_allclose(stats.head_covered_mass, share, atol=1e-3)
    assert sum(plan.token_count for plan in stats.plans) == TOKENS
    assert all(plan.index and plan.tier for plan in stats.plans)
    assert stats.engine_microseconds > 0
    assert plain.stats.head_tokens_attended is None


@pytest.mark.parametrize(
    ("target", "token_range"),
    [(alayadb.TopK(7), (10, 1400)), (alayadb.Dipr(0.3), None)],
    ids=str,
)
def test_search_returns_the_targets_tokens_by_falling_score(db, stored, target, token_range):
    sequence, context_id = stored
    group = sequence.model.num_query_heads // sequence.model.num_kv_heads
    no_window = alayadb.Window(0, 0)
    query, exact = pose(sequence, 1, 2, target=target, token_range=token_range, window=no_window)

    found = db.search(context_id, 1, query, target=target, token_range=token_range)

    for t in range(2):
        for h in range(sequence.model.num_query_heads):
            keys = sequence.keys[1, :, h // group].astype(np.float64)
            scores = keys @ query[t, h].astype(np.float64)
            hits = found.hits[t][h]
            np.testing.assert_array_equal(
                np.sort(hits.tokens), np.flatnonzero(exact.attended[t, h])
            )
            np.testing.assert_allclose(hits.scores, scores[hits.tokens], rtol=1e-4)
            assert (np.diff(hits.scores) <= 0).all()
