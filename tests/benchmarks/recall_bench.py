"""Recall of facts from a long context by what is attended to: a trained model, the real server.

    python tests/benchmarks/recall_bench.py [--tokens 4096 8192 16384] [--texts 4] [--csv FILE]

The model and its questions are those of tests/integration/python/hugging_face/recall.py. A text is
computed and stored once; each of its questions is a session that reuses it, so that the one token
that is computed, the question, attends through the database to what its target selects.
"""

import argparse
import csv
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

TESTS = Path(__file__).resolve().parents[1] / "integration" / "python"
sys.path[:0] = [str(TESTS), str(TESTS / "hugging_face")]
import alayadb.transformers as alayadb

from recall import MENTION_COUNTS, Examination, load_model, make_text
from server_process import ServerProcess

WINDOW = alayadb.Window()
# Other budgets, at the last length only.
ALPHAS = (0.05, 0.2, 0.8)
COUNTS = (16, 128, 1024)
COLUMNS = ("way", "tokens", "questions", "attended", "right", *map(str, MENTION_COUNTS))


@dataclass(frozen=True)
class Way:
    """One row of the table at one length."""

    name: str
    right: np.ndarray  # [questions] bool
    attended: float  # tokens per head, mean


def equal_k(examination, attended):
    """The k of a top-k that attends to as many tokens; some of the k lie in the window."""
    k = attended - WINDOW.sink - WINDOW.recent
    for _ in range(4):
        target = alayadb.TopK(max(1, round(k)))
        _, counts = examination.through_database(target=target, tail_estimate=False)
        k += attended - float(np.mean(counts))
    return max(1, round(k))


def compare(examinations, with_budgets):
    """The ways at one length; the first top-k attends to as many tokens as DIPR did."""

    def way(name, ask):
        asked = [ask(examination) for examination in examinations]
        right = np.concatenate([right for right, _ in asked])
        return Way(name, right, float(np.mean(np.concatenate([counts for _, counts in asked]))))

    def stored(name, **options):
        return way(name, lambda examination: examination.through_database(**options))

    yield way("the model's own attention", lambda examination: examination.by_the_model())
    yield stored("full", target=alayadb.Full())
    yield stored("the default (DIPR and the rest estimated)")
    dipr = stored("DIPR", target=alayadb.Dipr(), tail_estimate=False)
    yield dipr
    k = equal_k(examinations[0], dipr.attended)
    yield stored(f"top-k as many, k = {k}", target=alayadb.TopK(k), tail_estimate=False)
    yield way("sink and window", lambda examination: examination.by_the_model(WINDOW))
    if with_budgets:
        for alpha in ALPHAS:
            target = alayadb.Dipr(alpha)
            yield stored(f"DIPR, alpha = {alpha}", target=target, tail_estimate=False)
        for k in COUNTS:
            yield stored(f"top-k, k = {k}", target=alayadb.TopK(k), tail_estimate=False)


def rows_of(db, model, length, arguments):
    rng = np.random.default_rng(length)
    texts = [make_text(length, arguments.questions, rng) for _ in range(arguments.texts)]
    examinations = [Examination(db, model, text) for text in texts]
    mentions = np.concatenate([text.mentions for text in texts])
    for way in compare(examinations, with_budgets=length == arguments.tokens[-1]):
        by_mentions = [way.right[mentions == count].mean() for count in MENTION_COUNTS]
        yield (way.name, length, len(way.right), way.attended, way.right.mean(), *by_mentions)
    for examination in examinations:
        db.delete_context(examination.context_id)


def print_row(way, tokens, questions, attended, *shares):
    print(f"{way:<42}{tokens:>10}{questions:>10}{attended:>10.0f}", end="")
    print("".join(f"{share:>10.1%}" for share in shares), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[4096, 8192, 16384])
    parser.add_argument("--texts", type=int, default=4, help="stored texts of each length")
    parser.add_argument("--questions", type=int, default=80, help="to each text")
    parser.add_argument("--csv", type=Path, help="where to leave the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model()
    rows = []
    print("share of right answers, all and by how often the text mentions the key")
    print(f"{'':<42}" + "".join(f"{column:>10}" for column in COLUMNS[1:]))
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory))
        try:
            with server.connect() as db:
                for length in arguments.tokens:
                    for row in rows_of(db, model, length, arguments):
                        rows.append(row)
                        print_row(*row)
        finally:
            server.terminate()
    if arguments.csv:
        with open(arguments.csv, "w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
