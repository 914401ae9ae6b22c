"""What transformers calls: the attention function, the mask function, and attention over a prompt.

A layer of a model asks its cache to `update`, and then calls the attention function with what
came back. The session marks the keys that it returns, and so is found again here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from transformers.masking_utils import causal_mask_function

from alayadb import InvalidArgumentError

SESSION_MARK = "_alayadb_session"

#: Arguments by which models ask for what AlayaDB does not compute.
_REFUSED_ARGUMENTS = {
    "sliding_window": "sliding windows",
    "softcap": "soft-capped logits",
    "s_aux": "attention sink parameters",
    "head_mask": "head masks",
    "position_bias": "position biases",
    "alibi": "ALiBi biases",
}
_QUERIES_PER_BLOCK = 512


def attention_forward(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Any, None]:
    """transformers' attention interface: [B, H, T, D] each, the answer is [B, T, Hq, D]."""
    session = getattr(key, SESSION_MARK, None)
    if session is None:
        raise InvalidArgumentError(
            'attention "alaya" needs a Session as cache: pass past_key_values='
            "alayadb.transformers.Session(db, model) to generate() or to the model"
        )
    for name, meaning in _REFUSED_ARGUMENTS.items():
        if kwargs.get(name) is not None:
            raise InvalidArgumentError(f"AlayaDB does not compute {meaning} ({name})")
    if dropout:
        raise InvalidArgumentError("AlayaDB is for inference: call model.eval() (dropout)")
    if not getattr(module, "is_causal", True) or kwargs.get("is_causal") is False:
        raise InvalidArgumentError("AlayaDB computes causal attention only")
    if scaling is None:
        scaling = query.shape[-1] ** -0.5
    return session.attend(query, key, value, attention_mask, scaling), None


def attention_mask(
    kv_length: int,
    mask_function: Any = causal_mask_function,
    attention_mask: Any = None,
    **_: Any,
) -> Any:
    """Hands the 2-D padding mask to the attention function, or None if nothing is padded."""
    if mask_function is not causal_mask_function:
        raise InvalidArgumentError(
            "AlayaDB computes plain causal attention; this model asks for another mask "
            "(sliding window, chunks, packed sequences or blocks that see each other)"
        )
    if attention_mask is None:
        return None
    attention_mask = attention_mask[:, -kv_length:].bool()
    if attention_mask.shape[1] == kv_length and bool(attention_mask.all()):
        return None
    return attention_mask


def causal_attention(query: Any, key: Any, value: Any, scale: float) -> Any:
    """[B, Hq, T, D]: every token over itself and those before it."""
    return functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scale, enable_gqa=True
    )


def causal_attention_part(query: Any, key: Any, value: Any, scale: float) -> tuple[Any, Any]:
    """The same for one row, [Hq, T, D], in float32, with its log_sum_exp [Hq, T]."""
    count, dim = query.shape[1:]
    grouped = query.float().reshape(len(key), -1, count, dim)
    keys, values = key.float()[:, None], value.float()[:, None]
    output = torch.empty_like(grouped)
    log_sum_exp = grouped.new_empty(grouped.shape[:3])
    for begin in range(0, count, _QUERIES_PER_BLOCK):
        end = min(begin + _QUERIES_PER_BLOCK, count)
        logits = scale * (grouped[:, :, begin:end] @ keys[:, :, :end].transpose(-1, -2))
        future = torch.ones(end - begin, end, dtype=torch.bool, device=query.device).triu(begin + 1)
        logits.masked_fill_(future, -torch.inf)
        total = torch.logsumexp(logits, dim=-1)
        log_sum_exp[:, :, begin:end] = total
        output[:, :, begin:end] = (logits - total[..., None]).exp() @ values[:, :, :end]
    return output.reshape(query.shape), log_sum_exp.reshape(-1, count)


def merge(first: tuple[Any, Any], second: tuple[Any, Any]) -> Any:
    """Attention over two disjoint sets of tokens, from (output, log_sum_exp) of each."""
    share = torch.sigmoid(first[1] - second[1])[..., None]
    return share * first[0] + (1 - share) * second[0]
