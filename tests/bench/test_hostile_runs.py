"""Laws of the door of runs: a report of files that anybody may have written ends in a named error, or is one."""

from __future__ import annotations

import json

import pytest

from aecodec.bench.measurements import RunError, columns
from aecodec.bench.report import write_report
from aecodec.contracts import AecodecError

ROW = {"codec": "x", "version": "1", "quality": "50", "image": "a", "width": "64", "height": "64", "bytes": "100"}
ROW |= {"bpp": "0.2", "psnr": "30", **{name: "0.1" for name in columns() if name.endswith("_s")}}


def lay(folder, row=None, **files):
    folder.mkdir(exist_ok=True)
    cells = [{**ROW, **(row or {})}.get(name, "") for name in columns()]
    (folder / "x.csv").write_text(",".join(columns()) + "\n" + ",".join(cells) + "\n")
    for name, content in files.items():
        path = folder / {"run": "run.json", "sidecar": "x.json", "crops": "crops/a/crops.json"}[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_a_run_without_them_is_reported(tmp_path):
    write_report([lay(tmp_path / "run")], tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size


ANY = ["[]", "7", '"text"', "null", "{", "[" * 100_000]
CROP = {"codec": "x", "file": "x.png", "quality": 1, "bytes": 1, "bpp": 1, "psnr": 1}
SIDECARS = [
    {"runs": 7},
    {"runs": [7]},
    {"runs": [{"machine": 7}]},
    {"runs": [{"commit": 7}]},
    {"runs": [{"kmac_per_pixel": [1]}]},
    {"runs": [{"kmac_per_pixel": {"a": float("nan")}}]},
    {"settings": 7},
    {"learned": "yes"},
]
CROPS = [
    {"image": "a", "target_bytes": "many", "crops": []},
    {"image": 7, "target_bytes": 1, "crops": []},
    {"image": "a", "target_bytes": 1, "crops": 7},
    {"image": "a", "target_bytes": 1, "crops": [7]},
    {"image": "a", "target_bytes": 1, "crops": [{**CROP, "file": "../../x.png"}]},
    {"image": "a", "target_bytes": 1, "crops": [{**CROP, "file": "/etc/passwd"}]},
    {"image": "a", "target_bytes": 1, "crops": [{**CROP, "psnr": float("nan")}]},
    {"crops": []},
]
FILES = [(name, content) for name in ("run", "sidecar", "crops") for content in ANY]
FILES += [("run", {"data": 7}), ("run", {"anchor": ["x"]}), *(("sidecar", s) for s in SIDECARS)]


@pytest.mark.parametrize(("name", "content"), [*FILES, *(("crops", c) for c in CROPS)])
def test_a_json_file_of_another_kind_is_named(name, content, tmp_path):
    with pytest.raises(RunError, match=r"\.json"):
        write_report([lay(tmp_path / "run", **{name: content})], tmp_path / "r.html")


@pytest.mark.parametrize(
    "row",
    [
        {"width": "0"},
        {"height": "-4"},
        {"width": "9" * 5000},
        {"width": "nan"},
        {"quality": "nan"},
        {"quality": "inf"},
        {"bpp": "inf"},
        {"bpp": "-1"},
        {"bytes": "-1"},
        {"encode_s": "inf"},
    ],
)
def test_a_row_of_impossible_figures_is_named(row, tmp_path):
    with pytest.raises(AecodecError, match=r"x\.csv"):
        write_report([lay(tmp_path / "run", row)], tmp_path / "r.html")
