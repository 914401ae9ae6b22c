#!/usr/bin/env python3
"""Draws the figures of trace_replay: python3 plot_replay.py figures.csv out.png

Needs matplotlib. Left: prefix hits in memory by memory budget, beside an LRU of whole blocks and
what unlimited memory would give. Right: time to the first answer by where its tokens lay.
"""

import csv
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def main(csv_path: str, png_path: str) -> None:
    with open(csv_path, newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    rows.sort(key=lambda row: row["budget_percent"])
    places = range(len(rows))
    labels = [f"{row['budget_percent']:g} %\n{row['budget_mib']:.0f} MiB" for row in rows]
    figure, (by_hits, by_time) = plt.subplots(1, 2, figsize=(11, 4.2))

    for column, name, shift in (("memory_hit_percent", "memory tier", -0.2),
                                ("lru_hit_percent", "LRU of whole blocks", 0.2)):
        bars = by_hits.bar([place + shift for place in places], [row[column] for row in rows], 0.4,
                           label=name)
        by_hits.bar_label(bars, fmt="%.1f", fontsize=8)
    by_hits.axhline(rows[0]["prefix_hit_percent"], color="black", linestyle=":",
                    label="unlimited memory")
    by_hits.set(ylabel="prefix hits, % of the trace's tokens")
    by_hits.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, 0.94))

    for column, name in (("memory_p50_ms", "all in memory, p50"), ("memory_p99_ms", "p99"),
                         ("disk_p50_ms", "some from disk, p50"), ("disk_p99_ms", "p99")):
        tier = column.split("_")[0]
        by_time.plot(places, [row[column] for row in rows], marker="o" if "p50" in column else "^",
                     color={"memory": "tab:blue", "disk": "tab:red"}[tier], label=name)
    by_time.set(yscale="log", ylabel="ms from CreateSession to the first answer")
    by_time.legend(fontsize=8, loc="center right")

    for axes in (by_hits, by_time):
        axes.set_xticks(list(places), labels)
        axes.set_xlabel("memory budget, of the trace's different blocks")
    figure.tight_layout()
    figure.savefig(png_path, dpi=110)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
