"""Anomaly detectors as files: which model, which score, which threshold; and pictures scored by them."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch

from ..contracts import Autoencoder, CheckpointError, FrozenModel, UsageError
from ..data.arrays import as_float, holds_arrays, read_array
from ..data.files import write_atomic
from ..data.whole import read_whole, resized
from ..tasks.anomaly import Detector, heat_map

FORMAT = "aecodec-detector-1"
#: Classes of a label file.
NORMAL, ANOMALOUS = "normal", "anomalous"


def side_of(model: Autoencoder) -> tuple[int, bool]:
    """Side of the square pictures that a model takes, and whether they are grey. Raises UsageError for other items."""
    shape = tuple(model.shape)
    if len(shape) != 3 or shape[0] not in (1, 3) or shape[1] != shape[2]:
        raise UsageError(f"the model takes items of shape {shape}, which are no square pictures")
    return shape[1], shape[0] == 1


def read_items(model: Autoencoder, source: str | Path) -> torch.Tensor:
    """A folder of pictures, resized to the model's input, or an array of an .npz -> (N, *shape) float32."""
    if holds_arrays(source):
        return as_float(torch.from_numpy(read_array(source)))
    return as_float(torch.from_numpy(read_whole(Path(source), *side_of(model))))


def read_item(model: Autoencoder, path: Path) -> torch.Tensor:
    """One picture file -> (1, *shape) float32."""
    return as_float(torch.from_numpy(resized(path, *side_of(model)))[None])


def write_detector(detector: Detector, model: FrozenModel, path: Path, *, overwrite: bool) -> None:
    """A small JSON file. Raises OutputError."""
    record = {"format": FORMAT, "model": model.name, "fingerprint": model.fingerprint.hex(), **asdict(detector)}
    write_atomic(path, (json.dumps(record, indent=1) + "\n").encode(), overwrite=overwrite)


def read_detector(path: Path) -> tuple[Detector, bytes, str]:
    """The detector, and the fingerprint and name of its model. Raises CheckpointError."""
    try:
        record = json.loads(path.read_text())
        if record.get("format") != FORMAT:
            raise CheckpointError(f"{path}: expected a detector of format {FORMAT}, found {record.get('format')!r}")
        detector = Detector(**{field.name: record[field.name] for field in fields(Detector)})
        return detector, bytes.fromhex(record["fingerprint"]), record["model"]
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such detector") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a detector ({error})") from error


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


def heat_picture(model: Autoencoder, item: torch.Tensor) -> np.ndarray:
    """The item beside its error, bright where the model fails: (1, C, H, W) -> (H, 2 W, 3) uint8."""
    error = heat_map(model, item)[0]
    error = (error / error.max().clamp_min(1e-9)).sqrt()
    heat = torch.stack([error, error.square(), 0.2 * error])
    pair = torch.cat([item[0].expand(3, -1, -1), heat.to(item)], dim=2)
    return (pair.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
