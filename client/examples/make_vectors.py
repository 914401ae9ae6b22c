#!/usr/bin/env python3
"""Writes vectors.json: what the examples of every language send, and what must come back.

    make_vectors.py            writes it beside this script
    make_vectors.py --check    exits with 1 if the file is not what the script would write

Expected numbers follow from the definitions (proto/alaya/v1/attention.proto) in double precision,
with nothing but Python's standard library. Inputs are multiples of 1/16, so that they are the same
numbers in every float type.
"""

import json
import math
import random
import sys
from pathlib import Path

FILE = Path(__file__).with_name("vectors.json")

MODEL = {"name": "example", "num_layers": 2, "num_query_heads": 4, "num_kv_heads": 2, "head_dim": 8}
QUERY_HEADS, KV_HEADS, HEAD_DIM = 4, 2, 8
STORED_TOKENS = 96
ALPHA = 0.012
WINDOW = {"sink": 4, "recent": 8}
SCALE = 1 / math.sqrt(HEAD_DIM)
# No logit is closer than this to the edge of the DIPR set: float arithmetic decides as double does.
LOGIT_MARGIN = 1e-3


def grid(rng: random.Random, count: int, limit: int) -> list[float]:
    return [rng.randint(-16 * limit, 16 * limit) / 16 for _ in range(count)]


def row(flat: list[float], token: int, head: int, heads: int) -> list[float]:
    begin = (token * heads + head) * HEAD_DIM
    return flat[begin : begin + HEAD_DIM]


def attend(logits: list[float], values: list[list[float]], tokens: list[int]):
    """Softmax attention over some of the tokens: the output, and ln of the denominator."""
    largest = max(logits[t] for t in tokens)
    weights = {t: math.exp(logits[t] - largest) for t in tokens}
    total = sum(weights.values())
    output = [sum(weights[t] * values[t][i] for t in tokens) / total for i in range(HEAD_DIM)]
    return output, largest + math.log(total)


def dipr_set(logits: list[float]) -> list[int]:
    """Tokens of at least ALPHA times the largest weight, and the window."""
    edge = max(logits) + math.log(ALPHA)
    assert min(abs(logit - edge) for logit in logits) > LOGIT_MARGIN, "choose another seed"
    count = len(logits)
    return [
        t
        for t in range(count)
        if logits[t] >= edge or t < WINDOW["sink"] or t >= count - WINDOW["recent"]
    ]


def expected(query: list[float], key: list[float], value: list[float], choose) -> dict:
    """The answer of one layer: `key` and `value` hold all tokens, the new one last."""
    count = len(key) // (KV_HEADS * HEAD_DIM)
    answer = {"output": [], "log_sum_exp": [], "tokens_attended": 0}
    for head in range(QUERY_HEADS):
        kv_head = head // (QUERY_HEADS // KV_HEADS)
        q = row(query, 0, head, QUERY_HEADS)
        keys = [row(key, t, kv_head, KV_HEADS) for t in range(count)]
        values = [row(value, t, kv_head, KV_HEADS) for t in range(count)]
        logits = [SCALE * sum(x * y for x, y in zip(q, k)) for k in keys]
        tokens = choose(logits)
        output, log_sum_exp = attend(logits, values, tokens)
        answer["output"] += [round(x, 9) for x in output]
        answer["log_sum_exp"].append(round(log_sum_exp, 9))
        answer["tokens_attended"] += len(tokens)
    return answer


def vectors() -> dict:
    rng = random.Random(1)
    row_size = KV_HEADS * HEAD_DIM
    context_layers, step_layers = [], []
    for _ in range(MODEL["num_layers"]):
        key = grid(rng, STORED_TOKENS * row_size, 2)
        value = grid(rng, STORED_TOKENS * row_size, 1)
        step = {
            "query": grid(rng, QUERY_HEADS * HEAD_DIM, 4),
            "key": grid(rng, row_size, 2),
            "value": grid(rng, row_size, 1),
        }
        all_keys, all_values = key + step["key"], value + step["value"]
        step["full"] = expected(step["query"], all_keys, all_values, lambda all_: range(len(all_)))
        step["dipr"] = expected(step["query"], all_keys, all_values, dipr_set)
        assert step["dipr"]["tokens_attended"] < step["full"]["tokens_attended"] / 2
        context_layers.append({"key": key, "value": value})
        step_layers.append(step)
    tokens = [rng.randrange(32000) for _ in range(STORED_TOKENS)]
    return {
        "about": "Written by make_vectors.py. Tensors are row-major: [tokens, heads, head_dim].",
        "model": MODEL,
        "alpha": ALPHA,
        "window": WINDOW,
        "tolerance": 1e-4,
        "context": {"tokens": tokens, "layers": context_layers},
        "step": {"layers": step_layers},
    }


def text() -> str:
    """JSON with lists of numbers broken into lines of a bearable length."""

    def render(value, indent: str) -> str:
        deeper = indent + "  "
        if isinstance(value, dict):
            lines = [f'{deeper}"{name}": {render(item, deeper)}' for name, item in value.items()]
            return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
        if isinstance(value, list) and isinstance(value[0], dict):
            return "[" + ", ".join(render(item, indent) for item in value) + "]"
        if isinstance(value, list):
            rows = [value[i : i + 16] for i in range(0, len(value), 16)]
            lines = [deeper + ", ".join(json.dumps(number) for number in row) for row in rows]
            return "[\n" + ",\n".join(lines) + f"\n{indent}]"
        return json.dumps(value)

    return render(vectors(), "") + "\n"


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        if FILE.read_text() != text():
            print(f"{FILE.name} is not what make_vectors.py writes: run it", file=sys.stderr)
            return 1
        return 0
    FILE.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
