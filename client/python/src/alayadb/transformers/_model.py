"""Which transformers models can run on AlayaDB, and what the database has to know of them."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import torch

from alayadb import Client, InvalidArgumentError, Model
from alayadb.transformers._tensors import numpy_dtype

_SAMPLES_PER_TENSOR = 16
_NAME_LENGTH_MAX = 80


def register(db: Client, model: Any, name: str | None) -> Model:
    """Registers the shape of a transformers model. Errors: InvalidArgumentError if unsupported."""
    config = model.config.get_text_config()
    kind = type(model).__name__
    reasons = _reasons_to_refuse(model, config)
    if reasons:
        raise InvalidArgumentError(f"{kind} cannot run on AlayaDB: {'; '.join(reasons)}")
    num_query_heads = config.num_attention_heads
    return db.register_model(
        name or default_name(model),
        num_layers=config.num_hidden_layers,
        num_query_heads=num_query_heads,
        num_kv_heads=getattr(config, "num_key_value_heads", None) or num_query_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // num_query_heads,
        dtype=numpy_dtype(model.dtype),
    )


def default_name(model: Any) -> str:
    """A name that only models with the same weights share: keys and values of others do not fit.

    The weights are told apart by a few numbers of every parameter and buffer (RoPE's frequencies
    among them), so another fine-tuning or a merged adapter gets another name.
    """
    digest = hashlib.sha256(str(model.dtype).encode())
    for source in (model.named_parameters(), model.named_buffers()):
        for name, tensor in source:
            if tensor.is_meta:  # its weights are not loaded: offloaded by accelerate
                continue
            flat = tensor.detach().reshape(-1)
            some = flat[:: max(1, len(flat) // _SAMPLES_PER_TENSOR)][:_SAMPLES_PER_TENSOR]
            digest.update(name.encode())
            digest.update(some.to("cpu", torch.float32).numpy().tobytes())
    origin = getattr(model.config, "_name_or_path", "") or model.config.model_type
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", origin).strip("-")[-_NAME_LENGTH_MAX:]
    return f"{readable}-{digest.hexdigest()[:16]}"


def _reasons_to_refuse(model: Any, config: Any) -> list[str]:
    """What AlayaDB would compute wrongly, or "alaya" would not be asked for."""
    reasons = []
    if model.config.is_encoder_decoder:
        reasons.append("it has an encoder; only decoders keep one growing KV cache")
    settable = getattr(type(model), "_can_set_attn_implementation", None)
    if settable is not None and not settable():
        reasons.append("it does not choose its attention through transformers' AttentionInterface")
    window = getattr(config, "sliding_window", None)
    if window is not None and getattr(config, "use_sliding_window", True):
        reasons.append(f"its attention has a sliding window ({window} tokens)")
    other_types = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if other_types:
        reasons.append(f"it has layers of the type {', '.join(sorted(other_types))}")
    for setting, meaning in _REFUSED_SETTINGS.items():
        value = getattr(config, setting, None)
        if value:
            reasons.append(f"{meaning} ({setting}={value})")
    if any(hasattr(module, "sinks") for module in model.modules()):
        reasons.append("its attention has sink parameters beside the keys")
    return reasons


_REFUSED_SETTINGS = {
    "attn_logit_softcapping": "its attention logits are soft-capped",
    "attention_chunk_size": "it attends in chunks",
    "kv_lora_rank": "it caches latent vectors instead of keys and values",
    "num_kv_shared_layers": "some of its layers share one cache",
    "alibi": "its attention has ALiBi biases",
}
