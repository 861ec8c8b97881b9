"""The results as tables."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from bench.jobs import JOBS, Job
from bench.resources import Cost, Idle
from bench.servers import OURS, PLAIN

MIB = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """A job once: its speed, and the server's processor time for a request, in µs."""

    speed: float
    cost: float


Results = dict[Job, dict[str, list[Sample]]]
Medians = dict[str, dict[str, dict[str, float]]]  # by job's name, server's, "speed" or "cost"


def medians(results: Results) -> Medians:
    """Of every job and server."""
    return {
        job.name: {
            name: {
                "speed": statistics.median(sample.speed for sample in samples),
                "cost": statistics.median(sample.cost for sample in samples),
            }
            for name, samples in by_name.items()
        }
        for job, by_name in results.items()
    }


def text(found: dict[str, Any]) -> str:
    """All of it."""
    parts, jobs = [found["head"]], [job for job in JOBS if job.name in found.get("jobs", {})]
    if jobs:
        parts += [part(found["jobs"], jobs) for part in (table, missed, cost_table)]
    return "\n".join([*parts, *filter(None, [found.get("costs")])])


def _servers(found: Medians) -> list[str]:
    """All of them, ours first."""
    return list(dict.fromkeys(name for by_name in found.values() for name in by_name))


def table(found: Medians, jobs: list[Job]) -> str:
    """Medians, and in brackets our median divided by that server's."""
    names = _servers(found)
    lines = [f"| job | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for job in jobs:
        by_name = {name: one["speed"] for name, one in found[job.name].items()}
        ours = by_name[OURS]
        cells = [f"{ours:,.0f}"]
        cells += [
            f"{by_name[name]:,.0f} ({ours / by_name[name]:.2f})" if name in by_name else ""
            for name in names[1:]
        ]
        lines.append(f"| {job.name}, {job.unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cost_table(found: Medians, jobs: list[Job]) -> str:
    """Processor time of the servers, and in brackets as a multiple of unencrypted nbdkit's."""
    names = _servers(found)
    lines = [f"| server µs a request | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for job in jobs:
        by_name = {name: one["cost"] for name, one in found[job.name].items()}
        plain = by_name[PLAIN]
        cells = [
            f"{by_name[name]:.1f} ({by_name[name] / plain:.2f})" if name in by_name else ""
            for name in names
        ]
        lines.append(f"| {job.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def missed(found: Medians, jobs: list[Job]) -> str:
    """Every ratio that is below what is required."""
    lines = []
    for job in jobs:
        by_name = {name: one["speed"] for name, one in found[job.name].items()}
        lines += [
            f"- {job.name}: {by_name[OURS] / by_name[name]:.2f} of {name}, {needed:.2f} required"
            for name, needed in job.required.items()
            if name in by_name and by_name[OURS] < needed * by_name[name]
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
