"""The cache's own methods, its life on the server, and what it says when something is wrong."""

import copy
import gc
import subprocess
import sys

import pytest

import alayadb as plain

from models import (
    PAD,
    SHAPE,
    alayadb,
    generate,
    left_padded,
    make_model,
    make_prompt,
    torch,
    transformers,
)


@pytest.fixture
def model():
    model = make_model()
    model.set_attn_implementation("alaya")
    return model


def step(model, ids, session, **options):
    """The logits of the last column."""
    with torch.no_grad():
        return model(ids, past_key_values=session, **options).logits[:, -1]


def own(model, ids, **options):
    """The same by the model's own attention over the whole sequence."""
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        logits = model(ids, **options).logits[:, -1]
    model.set_attn_implementation("alaya")
    return logits


def assert_near(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def open_sessions(db, session):
    return [s for s in db.sessions() if s.model == session.model.name]


def test_importing_the_client_imports_neither_torch_nor_transformers():
    check = "import alayadb, sys; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_lengths(db, model):
    session = alayadb.Session(db, model)
    assert isinstance(session, transformers.Cache)
    assert (session.get_seq_length(), len(session)) == (0, 3)

    step(model, make_prompt(20), session)

    assert session.get_seq_length() == session.get_seq_length(2) == 20
    assert session.get_mask_sizes(3, 0) == session.get_mask_sizes(torch.arange(3), 0) == (23, 0)
    assert session.get_max_length() == session.get_max_cache_shape() == -1
    assert not session.is_compileable and not any(session.is_sliding)


@pytest.mark.parametrize("argument", [30, -20])
def test_crop_forgets_the_last_columns(db, model, argument):
    ids, session = make_prompt(60), alayadb.Session(db, model)
    step(model, ids[:, :50], session)

    session.crop(argument)

    assert session.get_seq_length() == 30
    assert_near(step(model, ids[:, 50:], session), own(model, ids[:, [*range(30), *range(50, 60)]]))
    session.crop(0)
    assert session.get_seq_length() == 40
    with pytest.raises(ValueError, match="40 columns"):
        session.crop(-41)


def test_crop_keeps_left_padding(db, model):
    ids, mask = left_padded(make_prompt(60, rows=2), [0, 25])
    session = alayadb.Session(db, model)
    step(model, ids[:, :50], session, attention_mask=mask[:, :50])

    session.crop(20)
    positions = mask.cumsum(1).sub(1).clamp(min=0)
    got = step(model, ids[:, 20:], session, attention_mask=mask, position_ids=positions[:, 20:])

    assert_near(got, own(model, ids, attention_mask=mask, position_ids=positions))


def test_reset_empties_it(db, model):
    ids, session = make_prompt(30), alayadb.Session(db, model, name="reset")
    step(model, ids, session)

    session.reset()

    assert session.get_seq_length() == 0
    assert open_sessions(db, session) == []
    assert_near(step(model, ids, session), own(model, ids))


def test_rows_are_repeated_reordered_and_selected(db, model):
    ids, session = make_prompt(20, rows=2), alayadb.Session(db, model, name="reordered")
    step(model, ids, session)
    first, second = ids

    session.batch_repeat_interleave(2)  # 0 0 1 1
    session.reorder_cache(torch.tensor([2, 0, 2, 1]))  # 1 0 1 0
    session.batch_select_indices(torch.tensor([0, 1, 2]))  # 1 0 1
    more = make_prompt(1, rows=3, seed=5)
    got = step(model, more, session)

    assert len(open_sessions(db, session)) == 3
    rows = torch.stack([second, first, second])
    assert_near(got, own(model, torch.cat([rows, more], dim=1)))


def test_a_deep_copy_is_a_fork(db, model):
    ids, session = make_prompt(30), alayadb.Session(db, model)
    step(model, ids[:, :20], session)

    twin = copy.deepcopy(session)
    got = step(model, ids[:, 20:], session)
    other = make_prompt(1, seed=9)
    got_twin = step(model, other, twin)

    assert (session.get_seq_length(), twin.get_seq_length()) == (30, 21)
    assert_near(got, own(model, ids))
    assert_near(got_twin, own(model, torch.cat([ids[:, :20], other], dim=1)))
    session.close()
    step(model, other, twin)


def test_what_is_stored_are_the_rows_without_padding(db, model):
    ids, mask = left_padded(make_prompt(40, rows=2), [0, 15])
    session = alayadb.Session(db, model, ids, mask)
    output = generate(model, ids, session, mask=mask, new_tokens=5).sequences

    names = session.store(output, labels={"from": "test"})

    assert [db.context_tokens(name).tolist() for name in names] == [
        output[0, :44].tolist(),
        output[1, 15:44].tolist(),
    ]


def test_tokens_that_cannot_be_the_sessions_are_not_stored(db, model):
    ids = make_prompt(40, seed=7)
    session = alayadb.Session(db, model, ids)
    with pytest.raises(plain.FailedPreconditionError, match="no tokens"):
        session.store(ids)  # nothing was computed
    step(model, ids, session)

    with pytest.raises(ValueError, match="40 tokens"):
        session.store(ids[:, :39])
    with pytest.raises(ValueError, match="prompt"):
        session.store(ids + 1)
    session.store(ids)


def test_models_with_other_weights_share_nothing(db):
    one, same, other = make_model(seed=1), make_model(seed=1), make_model(seed=2)
    names = [alayadb.Session(db, m).model.name for m in (one, same, other)]

    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize("end", ["close", "with", "drop", "cycle"])
def test_a_session_that_ended_is_gone_from_the_server(db, model, end):
    session = alayadb.Session(db, model, name=f"ended/{end}")
    step(model, make_prompt(10), session)
    name = session.model.name
    assert any(s.model == name for s in db.sessions())

    if end == "close":
        session.close()
    elif end == "with":
        with session:
            pass
    elif end == "cycle":
        session.itself = session
    del session
    gc.collect()

    while any(s.model == name for s in db.sessions()):  # pytest's timeout ends the wait
        pass


def test_a_killed_server_is_said(start_server):
    model, ids = make_model(), make_prompt(50)
    server = start_server()
    db = server.connect(timeout=20)
    session = alayadb.Session(db, model)

    class Killer:
        steps = 0

        def put(self, value):
            self.steps += 1
            if self.steps == 5:
                server.kill()

        def end(self):
            pass

    with pytest.raises(plain.UnavailableError):
        generate(model, ids, session, streamer=Killer())
    with pytest.raises(plain.FailedPreconditionError, match="an earlier step failed"):
        step(model, ids, session)
    session.close()


def test_a_step_that_failed_can_be_taken_back(start_server):
    model, ids = make_model(), make_prompt(60)
    model.set_attn_implementation("alaya")
    server = start_server("--max-tail-tokens-per-session=52")
    session = alayadb.Session(server.connect(), model)
    step(model, ids[:, :50], session)
    with pytest.raises(plain.ResourceExhaustedError):
        step(model, ids[:, 50:], session)
        step(model, ids[:, :1], session)  # if not at once, then with the next step

    session.crop(50)

    assert_near(step(model, ids[:, 50:51], session), own(model, ids[:, :51]))


def test_other_attention_with_the_session_is_refused(db):
    model, ids = make_model(), make_prompt(10)

    with pytest.raises(plain.FailedPreconditionError, match="set_attn_implementation"):
        step(model, ids, alayadb.Session(db, model))


def test_the_attention_without_a_session_is_refused(model):
    with pytest.raises(ValueError, match="past_key_values"):
        step(model, make_prompt(10), None)
    with pytest.raises(ValueError, match="past_key_values"):
        step(model, make_prompt(10), transformers.DynamicCache())


def test_padding_elsewhere_than_on_the_left_is_refused(db, model):
    ids = make_prompt(10)
    for mask in ([1] * 9 + [0], [1, 0] * 5):
        with pytest.raises(ValueError, match="left only"):
            step(model, ids, alayadb.Session(db, model), attention_mask=torch.tensor([mask]))


def test_a_mask_of_its_own_is_refused(db, model):
    mask = torch.zeros(1, 1, 10, 10)
    with pytest.raises(ValueError, match="padding mask"):
        step(model, make_prompt(10), alayadb.Session(db, model), attention_mask=mask)


def test_padding_that_changes_is_refused(db, model):
    ids, mask = left_padded(make_prompt(20), [5])
    session = alayadb.Session(db, model)
    step(model, ids, session, attention_mask=mask)

    with pytest.raises(ValueError, match="left padding"):
        step(model, ids[:, :1], session, attention_mask=torch.ones(1, 21))
    assert (ids[:, :5] == PAD).all()


def test_another_batch_size_is_refused(db, model):
    session = alayadb.Session(db, model)
    step(model, make_prompt(20, rows=2), session)

    with pytest.raises(ValueError, match="the session has 2 rows"):
        step(model, make_prompt(1, rows=3), session)


REFUSED = {
    "sliding window": lambda: transformers.MistralForCausalLM(
        transformers.MistralConfig(**SHAPE, sliding_window=64)
    ),
    "sliding_attention": lambda: transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            **SHAPE, use_sliding_window=True, sliding_window=64, max_window_layers=1
        )
    ),
    "soft-capped": lambda: transformers.Gemma2ForCausalLM(
        transformers.Gemma2Config(**SHAPE, head_dim=16)
    ),
    "encoder": lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=4)
    ),
    "AttentionInterface": lambda: transformers.BloomForCausalLM(
        transformers.BloomConfig(vocab_size=50, hidden_size=16, n_layer=1, n_head=4)
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_models_that_it_would_compute_wrongly_are_refused(db, reason):
    with pytest.raises(ValueError, match=f"cannot run on AlayaDB: .*{reason}"):
        alayadb.Session(db, REFUSED[reason]())
    assert all("Refused" not in m.name for m in db.models())


@pytest.mark.parametrize("argument", ["softcap", "s_aux", "sliding_window"])
def test_arguments_that_it_would_ignore_are_refused(db, model, argument):
    with pytest.raises(ValueError, match=argument):
        step(model, make_prompt(10), alayadb.Session(db, model), **{argument: 5})


def test_training_is_refused(db):
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**SHAPE, attention_dropout=0.1)
    ).train()
    model.set_attn_implementation("alaya")
    with pytest.raises(ValueError, match="eval"):
        step(model, make_prompt(10), alayadb.Session(db, model))
