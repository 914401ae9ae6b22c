#!/usr/bin/env python3
"""Draws the figures of recall_bench.py: python3 plot_recall.py figures.csv out.png

Needs matplotlib. Left: right answers against the length of the text. Right: against the tokens
that a head attends to on average, at the longest text.
"""

import csv
import sys
from collections import defaultdict

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

MARKERS = "osD^vX"


def main(csv_path: str, png_path: str) -> None:
    with open(csv_path, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["family"], _, row["budget"] = row["way"].partition(", ")
        for column in ("tokens", "attended", "right"):
            row[column] = float(row[column])
    lengths = sorted({row["tokens"] for row in rows})
    compared = defaultdict(list)  # the ways that were tried at every length
    budgets = defaultdict(list)  # what was tried at the longest
    for row in rows:
        if row["tokens"] == lengths[-1]:
            budgets[row["family"]].append((row["attended"], 100 * row["right"], row["budget"]))
        if not row["budget"] or row["family"] == "top-k as many":
            compared[row["family"]].append((row["tokens"], 100 * row["right"]))

    figure, (by_length, by_budget) = plt.subplots(1, 2, figsize=(12, 4.5), sharey=True)
    for (family, points), marker in zip(compared.items(), MARKERS):
        by_length.plot(*zip(*points), marker=marker, alpha=0.7, label=family)
    by_length.set(xscale="log", xlabel="tokens", ylabel="right answers, %", ylim=(0, 103))
    by_length.set_xticks(lengths, [f"{length / 1024:.0f}K" for length in lengths])
    by_length.minorticks_off()
    by_length.legend(fontsize=8, loc="lower left")

    for family, below in (("DIPR", -10), ("top-k", 6)):
        points = sorted(p for name in (family, f"{family} as many") for p in budgets[name])
        by_budget.plot([p[0] for p in points], [p[1] for p in points], marker="o", label=family)
        for attended, right, budget in points:
            by_budget.annotate(budget or "alpha = 0.012", (attended, right), fontsize=7,
                               xytext=(3, below), textcoords="offset points")
    for family in ("full", "sink and window"):
        by_budget.plot(*budgets[family][0][:2], marker="D", linestyle="", label=family)
    by_budget.set(xscale="log", xlabel="tokens attended to, mean of heads and layers",
                  title=f"{lengths[-1] / 1024:.0f}K tokens")
    by_budget.legend(fontsize=8, loc="lower right")

    figure.tight_layout()
    figure.savefig(png_path, dpi=110)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
