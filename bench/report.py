"""The results as tables."""

from __future__ import annotations

import statistics

from bench.jobs import Job
from bench.resources import Cost, Idle
from bench.servers import NAMES, OURS

Results = dict[Job, dict[str, list[float]]]
MIB = 1024 * 1024


def medians(results: Results) -> dict[Job, dict[str, float]]:
    """Of every job and server."""
    return {
        job: {name: statistics.median(values) for name, values in by_name.items()}
        for job, by_name in results.items()
    }


def table(results: Results) -> str:
    """Medians, and in brackets our median divided by that server's."""
    lines = [f"| job | {' | '.join(NAMES)} |", "|---|" + "---:|" * len(NAMES)]
    for job, by_name in medians(results).items():
        ours = by_name[OURS]
        cells = [f"{ours:,.0f}"]
        cells += [f"{by_name[name]:,.0f} ({ours / by_name[name]:.2f})" for name in NAMES[1:]]
        lines.append(f"| {job.name}, {job.unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def missed(results: Results) -> str:
    """Every ratio that is below what is required."""
    lines = [
        f"- {job.name}: {by_name[OURS] / by_name[name]:.2f} of {name}, {needed:.2f} required"
        for job, by_name in medians(results).items()
        for name, needed in job.required.items()
        if by_name[OURS] < needed * by_name[name]
    ]
    return "Below what is required:\n\n" + "\n".join(lines or ["- nothing"]) + "\n"


def costs(found: dict[str, Cost], idle: list[Idle]) -> str:
    """Memory, start-up and idle volumes."""
    lines = ["| server | RSS, MiB | private dirty, MiB | start to first reply, ms |"]
    lines.append("|---|--:|--:|--:|")
    for name, cost in found.items():
        memory = f"{cost.resident / MIB:.1f} | {cost.private_dirty / MIB:.1f}"
        lines.append(f"| {name} | {memory} | {cost.first_reply * 1000:.0f} |")
    lines += ["", "| idle volumes | sum of RSS, MiB | sum of PSS, MiB | % of one processor |"]
    lines.append("|--:|--:|--:|--:|")
    for many in idle:
        memory = f"{many.resident / MIB:.0f} | {many.proportional / MIB:.0f}"
        lines.append(f"| {many.volumes} | {memory} | {100 * many.cpu_share:.2f} |")
    return "\n".join(lines) + "\n"
