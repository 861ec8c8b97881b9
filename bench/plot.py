"""Draw bench/results/datapath-tmpfs.json: each job's servers as shares of unencrypted nbdkit.

Run by the environment of requirements/bench.txt, which has matplotlib and nothing of ours.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib  # type: ignore[import-not-found,unused-ignore]

RESULTS = Path(__file__).parent / "results"
PLAIN = "nbdkit"


def main() -> None:
    """Write the plot beside the figures."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    kept = json.loads((RESULTS / "datapath-tmpfs.json").read_text())
    found: dict[str, dict[str, dict[str, float]]] = kept["jobs"]
    figure, axes = pyplot.subplots(figsize=(9, 0.5 * len(found) + 1.5), layout="constrained")
    names = [name for name in next(iter(found.values())) if name != PLAIN]
    for place, name in enumerate(names):
        shares = [by_name[name]["speed"] / by_name[PLAIN]["speed"] for by_name in found.values()]
        rows = [row + (place - 1) * 0.2 for row in range(len(found))]
        bars = axes.barh(rows, shares, height=0.19, label=name)
        axes.bar_label(bars, fmt="%.2f", fontsize=6, padding=2)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.axvline(0.95, color="black", linewidth=0.6, linestyle=":")
    axes.set_yticks(range(len(found)), list(found), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("speed, as a share of nbdkit without encryption")
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(RESULTS / "datapath.png", dpi=110)


if __name__ == "__main__":
    main()
