"""Laws of files that anybody made, a bounded run each: the long one is `python scripts/fuzz.py`."""

from __future__ import annotations

import importlib
import os
import random

import pytest
from click.testing import CliRunner
from extras import needs
from fuzzing import LAWS, aec, law_of, running

from aecodec.coding import container

#: Kind -> examples of a bounded run, and outcomes that it must have seen.
BOUNDED = {
    "aec": (2500, ("decoded", "BitstreamError", "parsed")),
    "overfitted": (250, ("decoded", "BitstreamError")),
    "hix": (1500, ("as saved", "forged and sound", "IndexFileError")),
    "checkpoint": (120, ("read", "loaded", "CheckpointError")),
    "state": (40, ("resumed", "CheckpointError")),
    "pack": (150, ("read", "ImageReadError")),
    "metadata": (200, (".png with", ".jpg with", ".tif with", ".webp with")),
    "picture": (600, ("read whole", "read in another size", "ImageReadError", "PictureTooLargeError")),
}


def test_every_kind_has_a_bounded_run():
    assert BOUNDED.keys() == LAWS.keys()


@needs("torch")
@pytest.mark.parametrize("kind", LAWS)
def test_a_bounded_run_has_no_finding_and_sees_every_outcome(kind, tmp_path):
    examples, outcomes = BOUNDED[kind]
    report = running.run_kind(kind, examples, 1, tmp_path)
    assert not [place.with_suffix(".txt").read_text() for place in report.findings]
    assert report.examples == examples
    for word in outcomes:
        assert any(word in outcome for outcome in report.outcomes), (word, report.outcomes)


@needs("torch")
@pytest.mark.parametrize(
    "kind", ["aec", "overfitted", "hix", "pack", "metadata", "picture"]
)  # the names of a checkpoint's header have no order
def test_an_example_is_the_same_in_every_run(kind):
    law = law_of(kind)()
    for number in range(8):
        first, again = (law.make(random.Random(f"{kind} 5 {number}"), number) for _ in range(2))
        assert first == again


@needs("torch")  # for the golden checkpoint, which holds no graphs
def test_the_law_notices_what_breaks_it_and_the_file_is_kept(tmp_path, monkeypatch):
    """A file whose tile was replaced, checksums and all, is not taken for an original."""
    law = aec.AecLaw()
    parsed = container.parse(aec.SEEDS["hash"])
    forged = container.write(parsed.header, [parsed.tiles[0][:-4]], {"semantic_hash": parsed.semantic_hash})
    with pytest.raises(AssertionError, match="never in it"):
        law.check(forged)
    monkeypatch.setattr(law, "make", lambda rng, number: (forged, False))
    report = running.run(law, "aec", 3, 9, tmp_path)
    assert len(report.findings) == 3
    assert report.findings[0].read_bytes() == forged
    assert "never in it" in report.findings[0].with_suffix(".txt").read_text()


@needs("torch")
def test_time_and_memory_are_part_of_every_law(monkeypatch):
    law = aec.AecLaw()
    times = iter([0.0, 99.0])
    monkeypatch.setattr("fuzzing.law.time.process_time", lambda: next(times))
    with pytest.raises(AssertionError, match="took 99"):
        law.check(b"")
    peaks = iter([0, 1 << 30, 1 << 30])
    monkeypatch.undo()
    monkeypatch.setattr("fuzzing.law._peak", lambda: next(peaks))
    with pytest.raises(AssertionError, match="MiB"):
        law.check(b"")


def test_a_large_example_hides_none_after_it_and_what_is_printed_is_a_finding(monkeypatch):
    """Pixels that were read may cost memory; errors may not, nor may anything reach stderr, past Python or not."""
    law = law_of("picture")()

    def outcome(data: bytes, repaired: bool) -> str:
        law.pixels = len(data) << 20
        return str(len(bytearray(b"1") * (400 << 20)))

    monkeypatch.setattr(law, "outcome", outcome)
    for _ in range(2):
        with pytest.raises(AssertionError, match="MiB"):
            law.check(b"")
    law.check(bytes(10))
    monkeypatch.undo()
    monkeypatch.setattr("fuzzing.picture.read_picture", lambda data: os.write(2, b"a line of a library"))
    with pytest.raises(AssertionError, match="printed: a line of a library"):
        law.check(b"")


def test_the_command_reports_rates_and_outcomes(tmp_path):
    command = importlib.import_module("fuzz").main
    result = CliRunner().invoke(command, ["--kind", "hix", "--examples", "100", "--findings", str(tmp_path / "f")])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("hix: 100 files in ")
    assert "IndexFileError" in result.output
