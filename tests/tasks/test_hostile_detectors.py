"""Laws of the door of detectors: every field has a type and a range."""

from __future__ import annotations

import json

import pytest

from aecodec.contracts import CheckpointError
from aecodec.tasks.anomaly import FORMAT, read_detector

WHOLE = {
    "format": FORMAT,
    "model": "m",
    "fingerprint": "00" * 8,
    "threshold": 0.5,
    "score": "error",
    "false_alarm_rate": 0.05,
    "normal_items": 10,
}
WRONG = {
    "format": [1, None, "aecodec-detector-2", ["aecodec-detector-1"]],
    "model": [None, 7, "x" * 1000],
    "fingerprint": ["", "00", "zz" * 8, 7, None],
    "threshold": [float("nan"), float("inf"), -float("inf"), "high", None, True, 10**400],
    "score": ["", "other", None, 3, ["error"]],
    "false_alarm_rate": [-0.1, 1.1, float("nan"), "0.1"],
    "normal_items": [0, -1, 1.5, "ten", 10**30],
}


def test_a_whole_detector_is_read(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps(WHOLE))
    assert read_detector(tmp_path / "d.json")[0].threshold == 0.5


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_a_field_out_of_its_range_is_named(field, value, tmp_path):
    (tmp_path / "d.json").write_text(json.dumps({**WHOLE, field: value}))
    with pytest.raises(CheckpointError, match=r"d\.json"):
        read_detector(tmp_path / "d.json")


@pytest.mark.parametrize("field", WHOLE)
def test_a_field_that_is_missing_is_named(field, tmp_path):
    (tmp_path / "d.json").write_text(json.dumps({key: value for key, value in WHOLE.items() if key != field}))
    with pytest.raises(CheckpointError, match=r"d\.json"):
        read_detector(tmp_path / "d.json")
