#!/usr/bin/env python3
"""Draws the figures of index_comparison: python3 plot_comparison.py figures.csv out.png

Needs matplotlib. Left: time against output error at the longest context. Right: time
against the length of the context, for the ways that reach the wanted error.
"""

import csv
import re
import sys
from collections import defaultdict

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

COLUMNS = ["way", "tokens", "layer", "sessions", "us", "floor_us", "error", "recovery", "attended",
           "build_s", "bytes", "threads"]
# Rows without their number of threads are of both cores.
THREADS = "2"
ERROR_MAX = 0.02


def read(path: str) -> list[dict]:
    with open(path, newline="") as file:
        rows = [dict(zip(COLUMNS, row)) for row in csv.reader(file)]
    for row in rows:
        row["layer"] = 0
        row.setdefault("threads", THREADS)
        row["family"] = re.sub(r"[, ]+(k |top-)\d+$", "", row["way"])
        for column in COLUMNS[1:]:
            row[column] = float(row[column])
    return [row for row in rows if row["sessions"] == 1 and row["threads"] == float(THREADS)]


def main(csv_path: str, png_path: str) -> None:
    rows = read(csv_path)
    longest = max(row["tokens"] for row in rows)
    figure, (by_error, by_length) = plt.subplots(1, 2, figsize=(13, 5))

    for row in rows:
        if row["tokens"] != longest:
            continue
        error = max(row["error"], 1e-4)
        by_error.scatter(error, row["us"] / 1000)
        by_error.annotate(row["way"], (error, row["us"] / 1000), fontsize=7,
                          xytext=(4, 2), textcoords="offset points")
    by_error.axvline(ERROR_MAX, color="grey", linestyle=":")
    by_error.set(xscale="log", yscale="log", xlabel="output error", ylabel="ms per layer and step",
                 title=f"{int(longest)} tokens")

    families = defaultdict(list)
    for row in rows:
        if row["error"] <= ERROR_MAX:
            families[row["family"]].append((row["tokens"], row["us"] / 1000))
    for family, points in sorted(families.items()):
        by_length.plot(*zip(*sorted(points)), marker="o", label=family)
    # Rows of several runs have several floors.
    floors = defaultdict(list)
    for row in rows:
        floors[row["tokens"]].append(row["floor_us"] / 1000)
    floor = sorted((tokens, min(of_runs)) for tokens, of_runs in floors.items())
    by_length.plot(*zip(*floor), color="black", linestyle=":", label="memory floor of K and V")
    by_length.set(xscale="log", yscale="log", xlabel="tokens", ylabel="ms per layer and step",
                  title=f"ways with an output error of at most {ERROR_MAX:.0%}")
    by_length.legend(fontsize=7)

    figure.tight_layout()
    figure.savefig(png_path, dpi=110)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
