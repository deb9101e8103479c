"""The record of a run: running averages, and the table they are written to."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from ..contracts import OutputError, UsageError
from ..data.files import write_atomic

CURVE_FILE = "curve.csv"
_STEP = re.compile(r"[0-9]{1,18}")
#: How the table begins, with or without rows.
CURVE_START = "step,elapsed"
#: Columns that tell of the run, not of the loss: they have no twin on held-out items.
_OF_THE_RUN = ("grad_norm", "psnr", "skipped", "images_per_second")


@dataclass
class Meter:
    """Averages since the last scheduled row. sums and counts are part of a run's state, the clock is not."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    images: int = 0
    lap: float = field(default_factory=time.monotonic)

    def add(self, values: dict[str, float], images: int) -> None:
        """One step. A step with a value that is not finite counts as skipped and leaves the averages alone."""
        self.images += images
        if not all(math.isfinite(value) for value in values.values()):
            self.skipped += 1
            return
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
            self.counts[key] = self.counts.get(key, 0) + 1

    def means(self) -> dict[str, float]:
        """The averages, PSNR in dB of the mean squared error, skipped steps, and images per second."""
        means = {key: self.sums[key] / self.counts[key] for key in self.sums}
        if "mse" in means:
            means["psnr"] = -10.0 * math.log10(max(means["mse"], 1e-12))
        means["skipped"] = self.skipped
        means["images_per_second"] = self.images / max(time.monotonic() - self.lap, 1e-9)
        return means

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to write the same rows."""
        return {"sums": dict(self.sums), "counts": dict(self.counts), "skipped": self.skipped}


class Curve:
    """The CSV (and, if installed, TensorBoard) record of a run, one row per scheduled step.

    period: scheduled steps are multiples of one of these. A run that is stopped elsewhere ends with an
    extra row; on resuming, that row and whatever followed the state resumed from are taken out again.
    Columns are those of the first row, and the ``eval_`` twin of each part of the loss.
    """

    def __init__(self, folder: Path, resumed_step: int, periods: tuple[int, ...]) -> None:
        self.path = folder / CURVE_FILE
        self.periods = periods
        self._kept = self._kept_rows(resumed_step)
        write_atomic(self.path, CURVE_START.encode(), overwrite=True)
        self._file: TextIO | None = None
        if self._kept:
            self._open(list(self._kept[0]))
        self._board: Any = None
        with contextlib.suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_step + 1)

    def _open(self, columns: list[str]) -> None:
        """Write the header and the rows kept from earlier, and stay open for more."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(self._kept)
        write_atomic(self.path, text.getvalue().encode(), overwrite=True)
        self._file = open(self.path, "a", newline="")  # noqa: SIM115 (lives as long as the run)
        self._writer = csv.DictWriter(self._file, columns, extrasaction="ignore", restval="")

    def scheduled(self, step: int) -> bool:
        """Whether a row is due after this step in any case."""
        return any(step % period == 0 for period in self.periods)

    def _kept_rows(self, resumed_step: int) -> list[dict[str, str]]:
        if not resumed_step or not self.path.exists():
            return []
        try:
            with open(self.path, newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if _STEP.fullmatch(row.get("step") or "")]
        except (OSError, ValueError, csv.Error) as error:
            raise UsageError(f"{self.path}: not the curve of a run ({error}); move it away to resume") from error
        return [row for row in rows if int(row["step"]) <= resumed_step and self.scheduled(int(row["step"]))]

    def add(self, step: int, elapsed: float, values: dict[str, float]) -> None:
        """One row. Raises OutputError."""
        try:
            if self._file is None:
                self._open(_columns(values))
            self._writer.writerow({"step": step, "elapsed": round(elapsed, 1), **values})
            if self._file is not None:
                self._file.flush()
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(key, value, step)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def _columns(values: dict[str, float]) -> list[str]:
    """Of the first row's values -> the columns of the table."""
    plain = [key for key in values if not key.startswith("eval_")]
    return ["step", "elapsed", *plain, *(f"eval_{key}" for key in plain if key not in _OF_THE_RUN)]
