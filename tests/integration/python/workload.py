"""Keys, values and queries of a small model, and the checks that every answer must pass."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

import alayadb
from alayadb.testing import ExactAttention, exact_attention

# What rounding to the output's dtype costs at most (8, 11 and 24 significand bits, to nearest), and
# some for the server's arithmetic in float32; relative to a head's norm.
ARITHMETIC_ERROR_MAX = 1e-5
RELATIVE_ERROR_MAX = {
    alayadb.bfloat16: 2.0**-8 + ARITHMETIC_ERROR_MAX,
    np.dtype(np.float16): 2.0**-11 + ARITHMETIC_ERROR_MAX,
    np.dtype(np.float32): 2.0**-24 + ARITHMETIC_ERROR_MAX,
}
# Logits are sums of float32 products: two that are nearer than this may change places.
LOGIT_ERROR_MAX = 2e-5

SEEDS_MAX = 100

_names = itertools.count()


@dataclass(frozen=True)
class Sequence:
    """A model registered under a name of its own, and tokens with their keys and values."""

    model: alayadb.Model
    tokens: list[int]
    keys: np.ndarray  # [L, T, Hkv, D]
    values: np.ndarray

    def queries(self, count: int, seed: int = 0) -> np.ndarray:
        """[count, Hq, D], peaked enough that targets differ from each other."""
        rng = np.random.default_rng(seed)
        shape = (count, self.model.num_query_heads, self.model.head_dim)
        return (2 * rng.standard_normal(shape)).astype(self.model.dtype)

    def store(self, db: alayadb.Client, count: int | None = None, **options) -> str:
        """Imports the first `count` tokens."""
        rows = slice(0, count)
        keys, values = self.keys[:, rows], self.values[:, rows]
        result = db.import_context(self.model.name, self.tokens[rows], keys, values, **options)
        return result.context_id


def make_sequence(
    db: alayadb.Client,
    token_count: int,
    *,
    dtype: str = "bfloat16",
    num_layers: int = 2,
    num_query_heads: int = 8,
    num_kv_heads: int = 2,
    head_dim: int = 64,
    seed: int = 1000,
) -> Sequence:
    model = db.register_model(
        f"test/{next(_names)}",
        num_layers=num_layers,
        num_query_heads=num_query_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        dtype=dtype,
    )
    rng = np.random.default_rng(seed)
    shape = (num_layers, token_count, num_kv_heads, head_dim)
    keys, values = (rng.standard_normal(shape, np.float32).astype(model.dtype) for _ in range(2))
    return Sequence(model, rng.integers(0, 1 << 32, token_count).tolist(), keys, values)


def pose(
    sequence: Sequence,
    layer: int,
    query_count: int = 1,
    *,
    token_count: int | None = None,
    seed: int = 0,
    dtype=None,
    **options,
) -> tuple[np.ndarray, ExactAttention]:
    """Queries and their exact attention over the first `token_count` tokens of a layer.

    The queries are the first, from `seed` on, whose target does not hang on rounding errors.
    """
    rows = slice(0, token_count)
    for attempt in range(seed, seed + SEEDS_MAX):
        query = sequence.queries(query_count, attempt)
        query = query if dtype is None else query.astype(dtype)
        exact = exact_attention(
            query, sequence.keys[layer, rows], sequence.values[layer, rows], **options
        )
        if exact.margin > LOGIT_ERROR_MAX:
            return query, exact
    raise AssertionError(f"every case hangs on rounding: {options}")


def check(answer: alayadb.Attention, exact: ExactAttention) -> None:
    """The answer is the exact attention, as far as its dtype can say."""
    output = answer.output.astype(np.float64).reshape(exact.output.shape)
    error = np.linalg.norm(output - exact.output, axis=-1)
    norm = np.linalg.norm(exact.output, axis=-1)
    assert (error <= RELATIVE_ERROR_MAX[answer.output.dtype] * norm).all(), (error / norm).max()
    log_sum_exp = answer.log_sum_exp.reshape(exact.log_sum_exp.shape)
    np.testing.assert_allclose(log_sum_exp, exact.log_sum_exp, rtol=1e-5, atol=LOGIT_ERROR_MAX)
    assert answer.stats.tokens_attended == exact.attended.sum()
