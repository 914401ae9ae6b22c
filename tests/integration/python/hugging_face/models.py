"""Small models of every supported family, with random weights that make attention peaked."""

from __future__ import annotations

from contextlib import contextmanager
from unittest import mock

import pytest

from alayadb import PendingAttend

MISSING = "PyTorch and transformers are not installed: run deploy/install-deps --transformers"
torch = pytest.importorskip("torch", reason=MISSING)
transformers = pytest.importorskip("transformers", reason=MISSING)
alayadb = pytest.importorskip("alayadb.transformers")

torch.set_num_threads(1)  # the models are too small to gain by more, and the server wants the rest

PAD = 0
SHAPE = {
    "vocab_size": 200,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "initializer_range": 0.15,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES = {
    "gemma": lambda: transformers.GemmaForCausalLM(transformers.GemmaConfig(**SHAPE, head_dim=32)),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE)),
    "mistral": lambda: transformers.MistralForCausalLM(
        transformers.MistralConfig(**SHAPE, sliding_window=None)
    ),
    "mixtral": lambda: transformers.MixtralForCausalLM(
        transformers.MixtralConfig(**SHAPE, num_local_experts=4)
    ),
    "phi3": lambda: transformers.Phi3ForCausalLM(transformers.Phi3Config(**SHAPE)),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE)),
    "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SHAPE, head_dim=32)),
}


def make_model(family: str = "llama", seed: int = 1):
    torch.manual_seed(seed)
    return FAMILIES[family]().eval()


def make_prompt(count: int, rows: int = 1, seed: int = 1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, SHAPE["vocab_size"], (rows, count), generator=generator)


def left_padded(ids, padding: list[int]):
    """The ids with the first columns of each row made padding, and the mask that says so."""
    mask = torch.arange(ids.shape[1]) >= torch.tensor(padding)[:, None]
    return ids.masked_fill(~mask, PAD), mask.long()


def generate(model, ids, session=None, *, mask=None, new_tokens=64, **options):
    """Generates through AlayaDB if a session is given, else with the model's own attention."""
    model.set_attn_implementation("sdpa" if session is None else "alaya")
    options = {"do_sample": False, "min_new_tokens": new_tokens, **options}
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids) if mask is None else mask,
        past_key_values=session,
        max_new_tokens=new_tokens,
        output_logits=True,
        return_dict_in_generate=True,
        **options,
    )


# Two orders of float32 summation differ by some eps per product sum; three layers of peaked random
# weights amplify that. Relative to the logits' spread; half-precision would be off by 1e-3.
LOGIT_ERROR_MAX = 2e-4


def logit_error(got, expected) -> float:
    """The largest difference of two generations' logits, relative to their standard deviation."""
    a, b = torch.stack(got.logits), torch.stack(expected.logits)
    return ((a - b).abs().max() / b.std()).item()


def assert_same(got, expected) -> None:
    assert torch.equal(got.sequences, expected.sequences)
    assert logit_error(got, expected) <= LOGIT_ERROR_MAX


@contextmanager
def record_attended():
    """A list that grows by the tokens that each answer attended to, all query heads together."""
    counts = []
    result = PendingAttend.result

    def recorded(pending, **options):
        answers = result(pending, **options)
        counts.extend(a.stats.tokens_attended for a in answers if a.output.size)
        return answers

    with mock.patch.object(PendingAttend, "result", recorded):
        yield counts
