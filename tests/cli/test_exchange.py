"""Indexes merged by command: every picture of all folders is found, and nothing that is there is lost."""

from __future__ import annotations

import json
import shutil
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
    assert capsys.readouterr().out == "all.hix: 7 pictures of 3 indexes, 5 named by several taken once\n"
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
    assert (record["index"], record["pictures"], record["twins"], record["indexes"]) == ("scans.hix", 5, 0, 1)
    assert run(["index", "merge", "none/all.hix", "photos.hix"]) == 1
    assert run(["index", "merge", "all.hix", "photos.hix", "gone.hix"]) == 3
    assert capsys.readouterr().err.endswith("aecodec: error: gone.hix: no such index\n")
    assert sorted(path.name for path in two_indexes.iterdir()) == ["photos", "photos.hix", "scans", "scans.hix"]
