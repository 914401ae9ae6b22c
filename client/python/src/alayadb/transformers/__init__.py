"""AlayaDB as the KV cache and the attention of a Hugging Face transformers model.

    import alayadb.transformers as alayadb

    db = alayadb.connect("127.0.0.1:50600")
    past_key_values = alayadb.Session(db, model, **inputs)    # instead of DynamicCache(...)
    model.set_attn_implementation("alaya")                    # instead of "sdpa"
    output = model.generate(**inputs, past_key_values=past_key_values)
    past_key_values.store(output)

Importing this package registers the attention implementation "alaya" with transformers. It needs
`pip install 'alayadb[transformers]'`: PyTorch 2.5 or newer and transformers 4.54 or newer.
"""

from transformers import AttentionInterface, AttentionMaskInterface

from alayadb import AlayaError, Client, Dipr, Full, Mass, TopK, Window, connect
from alayadb.transformers._attention import attention_forward, attention_mask
from alayadb.transformers._session import Session

AttentionInterface.register("alaya", attention_forward)
AttentionMaskInterface.register("alaya", attention_mask)

__all__ = [
    "AlayaError",
    "Client",
    "Dipr",
    "Full",
    "Mass",
    "Session",
    "TopK",
    "Window",
    "connect",
]
