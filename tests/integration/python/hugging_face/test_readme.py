"""What the documentation shows runs as it stands, and the benchmarks do not rot."""

import re
import subprocess
import sys

import pytest

from models import make_model, make_prompt, torch
from server_process import REPOSITORY

EXAMPLE = re.compile(r"<!-- example: transformers -->\n+```python\n(.*?)```", re.DOTALL)


def test_the_two_lines_run(server, capsys):
    (source,) = EXAMPLE.findall((REPOSITORY / "client/python/README.md").read_text())
    model, ids = make_model(), make_prompt(50, seed=11)

    def tokenizer(prompt, return_tensors):
        assert (prompt, return_tensors) == ("a prompt", "pt")
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    names = {"model": model, "tokenizer": tokenizer, "prompt": "a prompt"}
    exec(source.replace('"127.0.0.1:50600"', repr(server.address)), names)
    output = names["output"]
    for session in (names["past_key_values"], names["again"]):
        session.close()

    assert "reused 49 of 50 tokens" in capsys.readouterr().out
    model.set_attn_implementation("sdpa")
    assert torch.equal(output, model.generate(ids, max_new_tokens=64))


@pytest.mark.parametrize(
    "command",
    [
        "transformers_bench.py --runs 3 --batch 1 2",
        "recall_bench.py --tokens 1024 --texts 1 --questions 5",
    ],
)
def test_the_benchmarks_run(command):
    script, *arguments = command.split()
    path = REPOSITORY / "tests/benchmarks" / script
    subprocess.run([sys.executable, path, *arguments], check=True)
