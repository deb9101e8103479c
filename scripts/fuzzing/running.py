"""Runs of a law: examples from a seed, in one process or several, each finding kept as a file beside its traceback."""

from __future__ import annotations

import random
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from . import law_of
from .law import Law

#: A run ends after so many findings: they are likely to be one.
MOST_FINDINGS = 20


@dataclass
class Report:
    """What a run saw. findings: the files that were kept."""

    examples: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[Path] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """The sum of two processes' reports; the longer time."""
        self.examples += other.examples
        self.seconds, self.slowest = max(self.seconds, other.seconds), max(self.slowest, other.slowest)
        self.outcomes += other.outcomes
        self.findings += other.findings


def run(law: Law, kind: str, examples: int, seed: int, folder: Path, seconds: float | None = None) -> Report:
    """So many examples, or as many as a time allows. Example n of a seed is the same in every run."""
    report, begin = Report(), time.perf_counter()
    for number in range(examples):
        if seconds is not None and time.perf_counter() - begin > seconds:
            break
        data, repaired = law.make(random.Random(f"{kind} {seed} {number}"), number)
        report.examples += 1
        try:
            law.check(data, repaired)
        except Exception:
            folder.mkdir(parents=True, exist_ok=True)
            place = folder / f"{kind}-{seed}-{number}{law.suffix}"
            place.write_bytes(data)
            place.with_suffix(".txt").write_text(traceback.format_exc())
            report.findings.append(place)
            if len(report.findings) >= MOST_FINDINGS:
                break
    report.seconds, report.slowest, report.outcomes = time.perf_counter() - begin, law.slowest, law.outcomes
    return report


def run_kind(kind: str, examples: int, seed: int, folder: Path, seconds: float | None = None) -> Report:
    """As `run`, with a law of its own."""
    return run(law_of(kind)(), kind, examples, seed, folder, seconds)


def run_processes(
    kind: str, examples: int, seed: int, folder: Path, seconds: float | None = None, processes: int = 1
) -> Report:
    """As `run_kind`, spread over processes; process p has the seed ``seed * 1000 + p``."""
    if processes == 1:
        return run_kind(kind, examples, seed, folder, seconds)
    shares = [examples // processes + (p < examples % processes) for p in range(processes)]
    total = Report()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = [
            pool.submit(run_kind, kind, share, seed * 1000 + p, folder, seconds) for p, share in enumerate(shares)
        ]
        for future in waiting:
            total.add(future.result())
    return total
