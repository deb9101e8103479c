"""Anomaly detection: a model that knows normal items reconstructs others badly."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..coding.header import FINGERPRINT
from ..contracts import Autoencoder, CheckpointError, FrozenModel, UsageError, Variational
from ..data.arrays import as_float
from ..data.files import write_atomic
from ..data.records import hexadecimal, integer, misfit, number, one_of, read_object, shown, text
from ..data.resized import read_view
from ..metrics.detection import threshold_for
from ..shield import shielded
from .loading import check_items

FORMAT = "aecodec-detector-1"
#: How an item is scored: its squared error, or minus its ELBO in nats.
SCORES = ("error", "surprise")
#: Classes of a label file.
NORMAL, ANOMALOUS = "normal", "anomalous"
_BATCH = 256
#: What a detector's file holds.
_FIELDS = {
    "threshold": number(-1e300, 1e300),
    "score": one_of(*SCORES),
    "false_alarm_rate": number(0, 1),
    "normal_items": integer(1, 1 << 53),
    "fingerprint": hexadecimal(FINGERPRINT),
    "model": text(100),
}


@dataclass(frozen=True)
class Detector:
    """threshold: items that score above it are reported; score: one of SCORES; false_alarm_rate: the share of normal
    items that was allowed to lie above; normal_items: how many of them there were."""

    threshold: float
    score: str
    false_alarm_rate: float
    normal_items: int


@shielded()
@torch.no_grad()
def scores(model: Autoencoder, x: torch.Tensor, score: str = "error") -> torch.Tensor:
    """x: (N, *shape) float32 -> (N,) float32, larger for stranger items; each item's own, whatever stands beside it.

    "error": mean squared error; "surprise": minus the ELBO in nats, for variational models. Raises UsageError.
    """
    check_items(model, x)
    if score not in SCORES:
        raise UsageError(f"expected a score of {', '.join(SCORES)}, found {score!r}")
    if score == "surprise" and not isinstance(model, Variational):
        raise UsageError("the score 'surprise' needs a variational model")
    parts = []
    for batch in x.split(_BATCH):
        if isinstance(model, Variational) and score == "surprise":
            parts.append(model.surprise(batch))
        else:
            parts.append((model.reconstruct(batch) - batch).square().flatten(1).mean(1))
    return torch.cat(parts).float() if parts else torch.empty(0)


@shielded()
@torch.no_grad()
def heat_map(model: Autoencoder, x: torch.Tensor) -> torch.Tensor:
    """Where the model fails: squared error averaged over channels. x: (N, C, H, W) -> (N, H, W) float32."""
    check_items(model, x)
    return (model.reconstruct(x) - x).square().mean(1)


@shielded()
def fit(model: Autoencoder, normal: torch.Tensor, false_alarm_rate: float = 0.05, score: str = "error") -> Detector:
    """The threshold that at most this share of normal items exceed. normal: (N, *shape), not trained on.

    Raises UsageError.
    """
    try:
        threshold = threshold_for(scores(model, normal, score).cpu().numpy(), false_alarm_rate)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Detector(threshold, score, false_alarm_rate, len(normal))


def write_detector(detector: Detector, model: FrozenModel, path: Path, *, overwrite: bool) -> None:
    """A small JSON file. Raises OutputError."""
    record = {"format": FORMAT, "model": model.name, "fingerprint": model.fingerprint.hex(), **asdict(detector)}
    write_atomic(path, (json.dumps(record, indent=1) + "\n").encode(), overwrite=overwrite)


def read_detector(path: Path) -> tuple[Detector, bytes, str]:
    """The detector, and the fingerprint and name of its model. Raises CheckpointError."""
    if not path.exists():
        raise CheckpointError(f"{path}: no such detector")
    found = read_object(path, CheckpointError, says="not a detector")
    if found.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected a detector of format {FORMAT}, found {shown(found.get('format'))}")
    if wrong := misfit(found, _FIELDS):
        raise CheckpointError(f"{path}: not a detector ({wrong})")
    detector = Detector(**{field.name: found[field.name] for field in fields(Detector)})
    return detector, bytes.fromhex(found["fingerprint"]), found["model"]


def read_label_file(path: Path) -> dict[str, bool]:
    """CSV lines of file name and class -> name -> whether it is anomalous. Raises UsageError for unknown classes."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: not a readable CSV file ({error})") from error
    labels = {}
    for row in rows:
        if len(row) != 2 or row[1] not in (NORMAL, ANOMALOUS):
            raise UsageError(f"{path}: expected lines FILE,{NORMAL} or FILE,{ANOMALOUS}, found {','.join(row)!r}")
        labels[row[0]] = row[1] == ANOMALOUS
    return labels


@shielded()
def heat_picture(model: Autoencoder, item: torch.Tensor, path: Path, side: int = 128) -> np.ndarray:
    """The picture in grey beside the same under its error, red where the model fails -> (side, 2 side, 3) uint8."""
    error = heat_map(model, item)[:, None]
    error = F.interpolate((error / error.max().clamp_min(1e-9)).sqrt(), size=(side, side), mode="bilinear")[0, 0]
    grey = as_float(torch.from_numpy(read_view(path, side, "grey")))[0]
    heat = torch.stack([torch.maximum(grey, error), grey * (1 - error), grey * (1 - error)])
    pair = torch.cat([grey.expand(3, -1, -1), heat], dim=2)
    return (pair.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
