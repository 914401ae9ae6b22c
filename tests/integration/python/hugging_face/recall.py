"""In-context recall: texts of facts, questions about them, and the model trained to answer them.

A text is `begin, key value, key value, …`; a question is one more key, and its answer is the value
that most mentions of this key gave. A third of many mentions name another value, always the same.
Every other key is a distraction.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from models import alayadb, record_attended, torch, transformers

WEIGHTS = Path(__file__).with_name("assets") / "recall_model.safetensors"

KEY_COUNT, VALUE_COUNT = 512, 64
BEGIN, FIRST_KEY, FIRST_VALUE = 0, 1, 1 + KEY_COUNT
MENTION_COUNTS = (1, 3, 9, 27, 81)
ROPE_THETA = 1e14  # two thirds of the dimensions hardly turn within 16K tokens: they compare keys


def make_model() -> transformers.LlamaForCausalLM:
    """The model with random weights."""
    config = transformers.LlamaConfig(
        vocab_size=1 + KEY_COUNT + VALUE_COUNT,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        attention_bias=True,
        max_position_embeddings=32768,
        rope_theta=ROPE_THETA,  # of transformers 4
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},  # of transformers 5
        bos_token_id=BEGIN,
        eos_token_id=None,
        pad_token_id=None,
        tie_word_embeddings=False,
    )
    return transformers.LlamaForCausalLM(config)


def load_model() -> transformers.LlamaForCausalLM:
    model = make_model()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval()


@dataclass(frozen=True)
class Text:
    tokens: np.ndarray  # [T]
    keys: np.ndarray  # [Q] the questions, tokens
    answers: np.ndarray  # [Q] the right values, tokens
    mentions: np.ndarray  # [Q] how often the text mentions each key


def make_text(length: int, question_count: int, rng: np.random.Generator) -> Text:
    """A text of at most `length` tokens, in which as many keys have each count of mentions, and
    questions to as many keys of each count."""
    keys_per_count = (length - 1) // 2 // sum(MENTION_COUNTS)
    mentions = np.repeat(MENTION_COUNTS, keys_per_count)
    keys = rng.permutation(KEY_COUNT)[: len(mentions)]
    answers = rng.integers(VALUE_COUNT, size=len(keys))
    rivals = (answers + rng.integers(1, VALUE_COUNT, size=len(keys))) % VALUE_COUNT
    facts = [
        (key, rival if mention < count // 3 else answer)
        for key, answer, rival, count in zip(keys, answers, rivals, mentions)
        for mention in range(count)
    ]
    facts = rng.permutation(np.array(facts)) + [FIRST_KEY, FIRST_VALUE]
    tokens = np.concatenate([[BEGIN], facts.reshape(-1)])
    asked = np.linspace(0, len(keys) - 1, question_count).round().astype(int)
    return Text(tokens, keys[asked] + FIRST_KEY, answers[asked] + FIRST_VALUE, mentions[asked])


class Examination:
    """A text and its questions, for a model with the text in the database or in its own cache."""

    def __init__(self, db, model, text: Text) -> None:
        self._db, self._model, self._text = db, model, text
        ids = torch.as_tensor(text.tokens)[None]
        with torch.no_grad(), alayadb.Session(db, model, target=alayadb.Full()) as session:
            model.set_attn_implementation("alaya")
            model(ids, past_key_values=session, logits_to_keep=1)
            (self.context_id,) = session.store(ids)
            model.set_attn_implementation("sdpa")
            self._cache = transformers.DynamicCache()
            model(ids, past_key_values=self._cache, logits_to_keep=1)

    def through_database(self, **options) -> tuple[list[bool], list[float]]:
        """Which answers are right, and how many tokens a head attended to, for every layer."""
        self._model.set_attn_implementation("alaya")
        right = []
        with record_attended() as attended:
            for key, expected in zip(self._text.keys, self._text.answers):
                ids = torch.as_tensor(np.append(self._text.tokens, key))[None]
                with alayadb.Session(self._db, self._model, ids, **options) as session:
                    said = self._model.generate(ids, past_key_values=session, max_new_tokens=1)
                right.append(int(said[0, -1]) == expected)
        return right, [count / self._model.config.num_attention_heads for count in attended]

    @torch.no_grad()
    def by_the_model(self, window: alayadb.Window | None = None) -> tuple[list[bool], list[float]]:
        """The same by the model's own attention, to nothing but the window if one is given."""
        self._model.set_attn_implementation("sdpa")
        length = len(self._text.tokens)
        seen = torch.ones(1, 1, 1, length + 1, dtype=torch.bool)
        if window is not None:
            seen[..., window.sink : length + 1 - window.recent] = False
        right = []
        for key, expected in zip(self._text.keys, self._text.answers):
            logits = self._model(
                torch.as_tensor([[key]]),
                past_key_values=self._cache,
                position_ids=torch.as_tensor([[length]]),
                attention_mask=seen,
            ).logits
            self._cache.crop(-1)
            right.append(int(logits[0, -1].argmax()) == expected)
        return right, [int(seen.sum())]
