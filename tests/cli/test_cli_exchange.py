"""Indexes merged by command: every picture of all folders is found, and nothing that is there is lost."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aecodec.cli import run


@pytest.fixture
def two_indexes(few_photos: Path, block_hasher: None, capsys: pytest.CaptureFixture[str]) -> Path:
    """photos.hix of photos/, and scans.hix of scans/, whose pictures are copies of two of them."""
    scans = few_photos.parent / "scans"
    scans.mkdir()
    for name in ("p0.png", "p1.png"):
        shutil.copy2(few_photos / name, scans)
    for name in ("photos", "scans"):
        assert run(["index", "build", name, "-o", f"{name}.hix"]) == 0
    capsys.readouterr()
    return few_photos.parent


def test_a_merged_index_is_searched_and_synced(two_indexes, capsys):
    assert run(["index", "merge", "all.hix", "photos.hix", "scans.hix", "photos.hix"]) == 0
    assert capsys.readouterr().out == "all.hix: 7 pictures of 3 indexes, 5 named again taken once\n"
    assert run(["search", "all.hix", "scans/p0.png", "--max-distance", "0"]) == 0
    assert capsys.readouterr().out.splitlines() == ["   0  scans/p0.png", "   0  photos/p0.png"]
    assert run(["index", "sync", "all.hix"]) == 0
    assert "7 unchanged" in capsys.readouterr().out
    Path("scans/p1.png").unlink()
    assert run(["index", "sync", "all.hix"]) == 0
    assert "1 removed, 6 unchanged" in capsys.readouterr().out


def test_merging_replaces_on_request_and_never_an_input(two_indexes, capsys):
    assert run(["index", "merge", "photos.hix", "scans.hix"]) == 5
    assert run(["index", "merge", "photos.hix", "photos.hix", "scans.hix", "--force"]) == 5
    assert "is an input" in capsys.readouterr().err
    assert run(["index", "merge", "scans.hix", "photos.hix", "--force", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["index"], record["pictures"], record["twins"]) == ("scans.hix", 5, 0)
    assert run(["index", "merge", "none/all.hix", "photos.hix"]) == 1
    assert run(["index", "merge", "all.hix", "photos.hix", "gone.hix"]) == 3
    assert capsys.readouterr().err.endswith("aecodec: error: gone.hix: no such index\n")
    assert sorted(path.name for path in two_indexes.iterdir()) == ["photos", "photos.hix", "scans", "scans.hix"]


def test_an_index_goes_out_and_comes_back(two_indexes, capsys):
    before = Path("photos.hix").read_bytes()
    assert run(["index", "export", "photos.hix", "--to", "photos.npz"]) == 0
    assert capsys.readouterr().out == "photos.npz: 5 rows of photos.hix\n"
    assert run(["index", "export", "photos.hix", "--to", "photos.npz"]) == 5
    assert run(["index", "export", "photos.hix", "--to", "photos.csv"]) == 2
    assert run(["index", "import", "photos.npz", "-o", "again.hix"]) == 0
    assert run(["index", "import", "photos.npz", "-o", "again.hix"]) == 5
    assert run(["index", "import", "photos.npz", "-o", "photos.npz", "-f"]) == 5
    assert run(["index", "import", "photos.npz", "-o", "again.hix", "-f", "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "again.hix: 5 pictures of photos.npz"
    assert json.loads(out[1])["pictures"] == 5
    assert Path("again.hix").read_bytes() == before


def test_a_pipe_carries_an_index(two_indexes):
    """Through two processes, as a shell has it."""
    aecodec = f"{shlex.quote(sys.executable)} -m aecodec"
    line = f"{aecodec} index export photos.hix --to - | {aecodec} index import - -o again.hix"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "again.hix: 5 pictures of -\n"), done.stderr
    assert Path("again.hix").read_bytes() == Path("photos.hix").read_bytes()
    half = subprocess.run(
        ["bash", "-c", f"{aecodec} index export photos.hix --to - | head -n 1"], capture_output=True, text=True
    )
    assert json.loads(half.stdout)["rows"] == 5
    assert half.stderr == ""
