"""Trains the model of recall.py and writes its weights: some 6 minutes of processor time.

    OMP_WAIT_POLICY=PASSIVE python tests/integration/python/hugging_face/train_recall_model.py

Every key that a text mentions again is a question. Lengths grow while it trains, and the positions
of facts are spread at random, so that what is learned at 4K tokens holds at 16K. Passive threads
matter where other programs use the cores: threads that wait would spin.
"""

import argparse
import math
import time

import numpy as np
import torch
from safetensors.torch import save_file

from recall import (
    BEGIN,
    FIRST_KEY,
    FIRST_VALUE,
    KEY_COUNT,
    ROPE_THETA,
    VALUE_COUNT,
    WEIGHTS,
    make_model,
)

NO_QUESTION = -100  # what cross entropy leaves out
POSITION_MAX = 16384
FAST_COUNT = 11  # pairs of dimensions that turn by more than half a radian in 16K tokens
# Tokens of a text, texts in a batch, steps.
STAGES = ((65, 32, 200), (257, 8, 200), (1025, 3, 200), (4097, 1, 120))


def begin_as_induction_head(model):
    """Adds to the random weights what training would have to find first, which takes it hours:
    the first layer looks at the token before and keeps a copy of it in the upper half of the
    hidden dimensions; the second layer asks whose copy equals the token that it is at.
    """
    dim = model.config.head_dim
    first, second = (layer.self_attn for layer in model.model.layers)
    frequency = ROPE_THETA ** (-torch.arange(FAST_COUNT) / (dim / 2))
    slow = torch.cat([torch.arange(FAST_COUNT, dim // 2) + half for half in (0, dim // 2)])
    own = torch.arange(len(slow))
    with torch.no_grad():
        model.model.embed_tokens.weight *= 25
        model.model.embed_tokens.weight[:, dim:] *= 0.1
        first.k_proj.bias[:FAST_COUNT] = 7
        # Turned back by one position, so that it meets the key of the token before.
        first.q_proj.bias[:FAST_COUNT] = 7 * frequency.cos()
        first.q_proj.bias[dim // 2 :][:FAST_COUNT] = -7 * frequency.sin()
        first.v_proj.weight[:dim, :dim] += torch.eye(dim)
        first.o_proj.weight[dim:, :dim] += 0.35 * torch.eye(dim)
        second.k_proj.weight[slow, dim + own] += 2
        for head in range(2):  # those of the first kv head
            second.q_proj.weight[head * dim + slow, own] += 2


def make_row(fact_count, rng):
    """Tokens, answers where a key is asked that has one by majority, and positions."""
    key_count = min(KEY_COUNT, round(math.exp(rng.uniform(math.log(4), math.log(fact_count)))))
    keys = rng.permutation(KEY_COUNT)[:key_count]
    values = rng.integers(VALUE_COUNT, size=(key_count, 2))
    weights = rng.exponential(size=key_count) + 0.01
    asked = rng.choice(key_count, fact_count, p=weights / weights.sum())
    said = values[asked, (rng.random(fact_count) < 1 / 3).astype(int)]
    answers = np.full(fact_count, NO_QUESTION)
    balance = {}  # mentions of a key's first value less those of its second
    for i, key in enumerate(asked):
        first, second = values[key]
        lead = balance.get(key, 0)
        if lead:
            answers[i] = FIRST_VALUE + (first if lead > 0 else second)
        balance[key] = lead + (1 if said[i] == first else -1)
    tokens = np.stack([FIRST_KEY + keys[asked], FIRST_VALUE + said], axis=1).reshape(-1)
    labels = np.stack([answers, np.full(fact_count, NO_QUESTION)], axis=1).reshape(-1)
    slack = (POSITION_MAX - len(tokens) - 1) * rng.random() * (rng.random() < 0.75)
    shift = np.sort(rng.integers(0, int(slack) + 1, size=fact_count)).repeat(2)
    positions = 1 + np.arange(len(tokens)) + shift
    return (
        np.concatenate([[BEGIN], tokens]),
        np.concatenate([[NO_QUESTION], labels]),
        np.concatenate([[0], positions]),
    )


def make_batch(length, rows, rng):
    made = [make_row((length - 1) // 2, rng) for _ in range(rows)]
    return (torch.from_numpy(np.stack(part)) for part in zip(*made))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=WEIGHTS)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    model = make_model()
    begin_as_induction_head(model)
    print(sum(p.numel() for p in model.parameters()), "parameters")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=3e-3, weight_decay=0.01, betas=(0.9, 0.95), fused=True
    )
    total = sum(steps for _, _, steps in STAGES)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1, (s + 1) / 100) * (0.02 + 0.98 * (1 - s / total))
    )
    start, done = time.time(), 0
    for length, rows, steps in STAGES:
        for step in range(steps):
            tokens, labels, positions = make_batch(length, rows, rng)
            hidden = model.model(tokens, torch.ones_like(tokens), positions).last_hidden_state
            asked = labels != NO_QUESTION
            logits = model.lm_head(hidden[asked])
            loss = torch.nn.functional.cross_entropy(logits, labels[asked])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += 1
            if done % 50 == 0:
                right = (logits.argmax(1) == labels[asked]).float().mean()
                print(
                    f"{time.time() - start:5.0f} s  step {done:5}  {length:5} tokens  "
                    f"loss {loss.item():.3f}  right {right:.3f}",
                    flush=True,
                )
    weights = {name: tensor.half() for name, tensor in model.state_dict().items()}
    save_file(weights, arguments.out)


if __name__ == "__main__":
    main()
