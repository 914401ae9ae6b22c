"""generate() through AlayaDB against generate() with the model's own attention."""

import numpy as np
import pytest

import alayadb as plain

from models import (
    FAMILIES,
    alayadb,
    assert_same,
    generate,
    left_padded,
    logit_error,
    make_model,
    make_prompt,
    record_attended,
    torch,
    transformers,
)


def full(db, model, *arguments, **options):
    return alayadb.Session(db, model, *arguments, target=alayadb.Full(), **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_full_attention_equals_the_models_own(db, family):
    model, ids = make_model(family), make_prompt(150)

    got = generate(model, ids, full(db, model))

    assert_same(got, generate(model, ids))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stored_prompt_is_not_computed_again(db, family):
    model, ids = make_model(family), make_prompt(800)
    first = generate(model, ids, session := full(db, model), new_tokens=8)
    session.store(first.sequences)

    again = full(db, model, ids)
    computed = count_columns(model)
    got = generate(model, ids, again)

    assert again.reused_tokens == 799
    assert computed == [1] * 64
    assert_same(got, generate(model, ids))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_longer_question_attends_to_the_stored_prompt(db, family):
    model, ids = make_model(family), make_prompt(1100, seed=2)
    stored = full(db, model)
    generate(model, ids[:, :700], stored, new_tokens=1)
    stored.store(ids[:, :700])

    session = full(db, model, ids)
    computed = count_columns(model)
    got = generate(model, ids, session)

    assert session.reused_tokens == 700
    assert computed[0] == 400
    assert_same(got, generate(model, ids))


def test_half_precision_is_as_near_as_the_models_own(db):
    model, ids = make_model().bfloat16(), make_prompt(300)
    exact = make_model()
    exact.load_state_dict(model.state_dict())
    session = full(db, model)

    with torch.no_grad():
        expected = exact(ids).logits
        own = model(ids).logits
        model.set_attn_implementation("alaya")
        prompt = model(ids[:, :280], past_key_values=session).logits
        steps = [model(ids[:, t : t + 1], past_key_values=session).logits for t in range(280, 300)]
    got = torch.cat([prompt, *steps], dim=1)

    error = (got - expected)[:, 280:].norm()
    assert error <= 1.5 * (own - expected)[:, 280:].norm()


def test_dipr_with_high_coverage_is_close_and_attends_to_less(db):
    model, ids = make_model(), make_prompt(4000)
    for layer in model.model.layers:
        layer.self_attn.q_proj.weight.data *= 4  # few tokens have nearly all of the weight
    first = generate(model, ids, session := full(db, model), new_tokens=1)
    session.store(first.sequences)
    expected = generate(model, ids, new_tokens=16)

    errors, shares = {}, {}
    for alpha in (1e-5, 0.9):
        sparse = alayadb.Session(
            db,
            model,
            ids,
            target=alayadb.Dipr(alpha),
            window=alayadb.Window(4, 16),
            tail_estimate=False,
        )
        with record_attended() as attended:
            got = generate(model, ids, sparse, new_tokens=16, logits_processor=force(expected))
        errors[alpha] = logit_error(got, expected)
        shares[alpha] = np.mean(attended) / (8 * 4000)

    # What is left out weighs less than 4000 alpha of the largest weight, in every head.
    assert shares[1e-5] < 0.3
    assert errors[1e-5] < 0.05
    assert shares[0.9] < 0.05
    assert errors[0.9] > 20 * errors[1e-5]


def test_a_batch_with_left_padding(db):
    model = make_model()
    ids, mask = left_padded(make_prompt(120, rows=4), [0, 20, 119, 57])

    got = generate(model, ids, full(db, model), mask=mask)

    assert_same(got, generate(model, ids, mask=mask))


def test_a_batch_reuses_what_all_rows_have(db):
    model = make_model()
    ids, mask = left_padded(make_prompt(400, rows=3), [0, 50, 350])
    stored = full(db, model)
    generate(model, ids[:2, :320], stored, mask=mask[:2, :320], new_tokens=1)
    stored.store(ids[:2, :320])

    session = full(db, model, ids, mask)
    computed = count_columns(model)
    got = generate(model, ids, session, mask=mask)

    assert session.reused_tokens == 320
    assert computed[0] == 80
    assert_same(got, generate(model, ids, mask=mask))


@pytest.mark.parametrize("opened", [True, False])
def test_beam_search(db, opened):
    model, ids = make_model(), make_prompt(90, rows=2)
    session = full(db, model, ids) if opened else full(db, model)
    beams = {"num_beams": 3, "num_return_sequences": 2, "new_tokens": 24}

    got = generate(model, ids, session, **beams)

    assert torch.equal(got.sequences, generate(model, ids, **beams).sequences)
    with pytest.raises(plain.FailedPreconditionError, match="beam"):
        session.store(got.sequences)


def test_beams_go_on_from_a_stored_prompt(db):
    model, ids = make_model(), make_prompt(300)
    stored = full(db, model)
    stored_ids = generate(model, ids, stored, new_tokens=1).sequences
    stored.store(stored_ids)
    session = full(db, model, ids)

    got = generate(model, ids, session, num_beams=4, new_tokens=16)

    assert session.reused_tokens == 299
    expected = generate(model, ids, num_beams=4, new_tokens=16)
    assert torch.equal(got.sequences, expected.sequences)


def test_tokens_are_streamed(db):
    model, ids = make_model(), make_prompt(60)
    streamer = Collector()

    got = generate(model, ids, full(db, model), streamer=streamer, new_tokens=12)

    assert streamer.tokens == got.sequences[0].tolist()
    assert streamer.ended


def test_rejected_guesses_are_cropped(db):
    model = make_model()
    ids = make_prompt(40).repeat(1, 4)  # so that looking up what came before makes guesses

    got = generate(model, ids, full(db, model), prompt_lookup_num_tokens=4)

    expected = generate(model, ids)
    assert torch.equal(got.sequences, expected.sequences)


def test_a_prompt_in_chunks(db):
    model, ids = make_model(), make_prompt(500)

    got = generate(model, ids, full(db, model), prefill_chunk_size=96)

    assert_same(got, generate(model, ids))


def test_a_conversation_goes_on(db):
    model, first, more = make_model(), make_prompt(80), make_prompt(30, seed=2)
    session = full(db, model)
    answer = generate(model, first, session, new_tokens=10).sequences
    ids = torch.cat([answer, more], dim=1)

    got = generate(model, ids, session)

    assert_same(got, generate(model, ids))


def test_the_prompt_is_streamed_while_the_model_runs(db):
    model, ids = make_model(), make_prompt(3000)
    session = full(db, model, name="streamed")
    seen = []

    def wait_for_first_layer(*_):
        # Layer 0 is on the server before the last layer has begun; pytest's timeout ends the wait.
        while not seen or seen[-1] < 3000:
            seen.append(sum(s.tail_tokens for s in db.sessions() if s.model == "streamed"))

    model.set_attn_implementation("alaya")
    hook = model.model.layers[-1].register_forward_pre_hook(wait_for_first_layer)
    with torch.no_grad():
        model(ids, past_key_values=session)
    hook.remove()

    assert seen[-1] == 3000


def force(expected):
    """Makes generate() choose these tokens, so that the logits of every step can be compared."""

    def choose(ids, scores):
        forced = torch.full_like(scores, -torch.inf)
        return forced.scatter_(1, expected.sequences[:, ids.shape[1], None], 0)

    return transformers.LogitsProcessorList([choose])


class Collector:
    """A streamer, as generate() wants one."""

    def __init__(self):
        self.tokens = []
        self.ended = False

    def put(self, value):
        self.tokens += value.flatten().tolist()

    def end(self):
        self.ended = True


def count_columns(model):
    """Grows by the columns of every forward pass."""
    counts = []
    model.get_input_embeddings().register_forward_pre_hook(
        lambda module, arguments: counts.append(arguments[0].shape[1])
    )
    return counts
