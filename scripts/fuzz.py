"""Fuzz what reads files of anybody: seeds are mutated with their structure, checksums repaired, outcomes held to laws.

The law of every kind: within two seconds of processor time and 256 MiB more than before, an example ends in what it
declares or in one line of a named error. What else each kind must hold stands in its file in scripts/fuzzing.

    python scripts/fuzz.py --kind aec --examples 100000 --processes 2
    python scripts/fuzz.py --seconds 20                                    # every kind, so long each

Findings are kept in fuzz-findings/: the file, and its traceback beside it. Exit code 1 if there are any.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

# Networks of an example are small: threads of each process would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import click
from fuzzing import LAWS
from fuzzing.running import Report, run_processes

from aecodec.bench import provenance


def keep(reports: dict[str, Report], out: Path, seed: int, processes: int) -> None:
    """What was run so far, as a table and the outcomes with where they come from; other kinds of the folder stay."""
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "fuzzing.json"
    runs = json.loads(kept.read_text()) if kept.exists() else {}
    for kind, report in reports.items():
        outcomes = dict(report.outcomes.most_common())
        runs[kind] = {
            "files": report.examples,
            "seconds": round(report.seconds, 1),
            "slowest_cpu_s": round(report.slowest, 3),
            "findings": len(report.findings),
            "outcomes": outcomes,
            **provenance.collect(seed=seed, processes=processes),
        }
    kept.write_text(json.dumps(runs, indent=1) + "\n")
    lines = ["| files | how many | slowest, CPU s | findings |", "|---|---|---|---|"]
    lines += [
        f"| {kind} | {run['files']:,} | {run['slowest_cpu_s']:.2f} | {run['findings']} |"
        for kind, run in sorted(runs.items())
    ]
    (out / "fuzzing.md").write_text("\n".join(lines) + "\n")


@click.command()
@click.option("--kind", "kinds", type=click.Choice(list(LAWS)), multiple=True, help="Of files; every kind by default.")
@click.option("--examples", type=click.IntRange(1), help="Of each kind; 2,000 by default.")
@click.option("--seconds", type=click.FloatRange(0.1, 1e6), help="For each kind, instead of a number or at most.")
@click.option("--seed", type=click.IntRange(0, 1 << 31), default=0, show_default=True)
@click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option("--findings", type=click.Path(file_okay=False, path_type=Path), default=Path("fuzz-findings"))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the counts in.")
def main(
    kinds: tuple[str, ...],
    examples: int | None,
    seconds: float | None,
    seed: int,
    processes: int,
    findings: Path,
    out: Path | None,
) -> None:
    """Mutate the seeds and hold every outcome to its law."""
    examples = examples or (2000 if seconds is None else 1 << 60)
    failed = 0
    reports: dict[str, Report] = {}
    for kind in kinds or LAWS:
        report = reports[kind] = run_processes(kind, examples, seed, findings, seconds, processes)
        rate = report.examples / max(report.seconds, 1e-9)
        click.echo(
            f"{kind}: {report.examples} files in {report.seconds:.0f} s, {rate:.0f} a second, "
            f"slowest {report.slowest:.3f} s, {len(report.findings)} findings"
        )
        for outcome, count in report.outcomes.most_common():
            click.echo(f"{count:8d}  {outcome}")
        for place in report.findings:
            click.echo(f"finding: {place}: {place.with_suffix('.txt').read_text().strip().splitlines()[-1]}")
        failed += len(report.findings)
        if out is not None:
            keep(reports, out, seed, processes)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
