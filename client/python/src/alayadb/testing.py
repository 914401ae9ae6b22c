"""Attention by its definition, in float64: the oracle of the tests.

Slow and plain on purpose, and not needed to use the database. Give it the arrays that the server
was given, so that a difference is an error and not the rounding of the input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alayadb._arrays import Array
from alayadb._options import Dipr, Full, Mass, Target, TopK, Window


@dataclass(frozen=True)
class ExactAttention:
    """Attention of T queries.

    Attributes:
      output: [T, Hq, D] float64; zeros where no token was visible.
      log_sum_exp: [T, Hq] float64; -inf there.
      attended: [T, Hq, N] bool, the attended set.
      margin: by how much, in logits, the nearest token misses or makes the bar of the target; a
        server that rounds less than that must attend to exactly this set. Infinite if all tokens
        are attended.
    """

    output: Array
    log_sum_exp: Array
    attended: Array
    margin: float


def exact_attention(
    query: Array,
    keys: Array,
    values: Array,
    *,
    target: Target = Full(),
    window: Window = Window(),
    scale: float | None = None,
    token_range: tuple[int, int] | None = None,
    tail_begin: int | None = None,
    causal: bool = False,
) -> ExactAttention:
    """Attention of `query` [T, Hq, D] over `keys` and `values` [N, Hkv, D].

    Args:
      token_range: only these positions are visible. None: all.
      tail_begin: tokens from here on are the session's own and always attended. None: there are
        none.
      causal: the last T tokens are the queries' own: query i does not see those after the i-th.
    """
    token_count, query_count = len(keys), len(query)
    head_count, head_dim = query.shape[1:]
    group = head_count // keys.shape[1]
    scale = head_dim**-0.5 if scale is None else scale
    begin, end = (0, token_count) if token_range is None else token_range
    tail_begin = token_count if tail_begin is None else tail_begin
    positions = np.arange(token_count)
    k = keys.astype(np.float64)
    v = values.astype(np.float64)

    output = np.zeros(query.shape)
    log_sum_exp = np.full(query.shape[:2], -np.inf)
    attended = np.zeros((query_count, head_count, token_count), dtype=bool)
    margin = np.inf
    for t in range(query_count):
        seen = token_count - query_count + t + 1 if causal else token_count
        last = min(end, seen)
        visible = (positions >= begin) & (positions < last)
        if not visible.any():
            continue
        always = visible & (
            (positions < window.sink)
            | (positions >= last - min(last, window.recent))
            | (positions >= tail_begin)
        )
        for h in range(head_count):
            logits = scale * (k[:, h // group] @ query[t, h].astype(np.float64))
            chosen, distance = _target_tokens(logits, visible, target)
            if np.isfinite(distance):
                margin = min(margin, distance)
            used = chosen | always
            top = logits[used].max()
            weights = np.exp(logits[used] - top)
            output[t, h] = weights @ v[used, h // group] / weights.sum()
            log_sum_exp[t, h] = top + np.log(weights.sum())
            attended[t, h] = used
    return ExactAttention(output, log_sum_exp, attended, float(margin))


def _target_tokens(logits: Array, visible: Array, target: Target) -> tuple[Array, float]:
    """The target's tokens, and how far the nearest token is from the bar."""
    if isinstance(target, Full):
        return visible, np.inf
    if isinstance(target, Dipr):
        bar = logits[visible].max() + np.log(target.alpha)
        return visible & (logits >= bar), float(np.abs(logits[visible] - bar).min())
    # Falling logit; of equal ones the earlier token: the sort is stable.
    order = np.flatnonzero(visible)
    order = order[np.argsort(-logits[order], kind="stable")]
    if isinstance(target, TopK):
        count, distance = min(target.k, len(order)), np.inf
    elif isinstance(target, Mass):
        weights = np.exp(logits[order] - logits[order[0]])
        share = np.cumsum(weights) / weights.sum()
        count = min(int(np.searchsorted(share, target.fraction)) + 1, len(order))
        nearest = share[max(0, count - 2) : count]
        distance = np.abs(np.log(nearest / target.fraction)).min()
    else:
        raise TypeError(f"target {target!r}")
    chosen = np.zeros_like(visible)
    chosen[order[:count]] = True
    if count < len(order):
        distance = min(distance, logits[order[count - 1]] - logits[order[count]])
    return chosen, float(distance)
