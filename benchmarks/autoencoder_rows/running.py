"""What every row shares: data folders, training through the one loop, result files with provenance, pictures."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from aecodec import checkpoint
from aecodec.bench import provenance
from aecodec.bench.measurements import write_records
from aecodec.contracts import UsageError
from aecodec.train.config import resolve
from aecodec.train.loop import AUTO, fit

Record = dict[str, Any]
#: Significant digits that a figure is worth.
DIGITS = 5


@dataclass(frozen=True)
class Bench:
    """data: folder of the data sets; runs: where trained models lie (and are taken from); out: where results go.

    shorten: divides the steps of every training, for a trial of the plumbing.
    """

    data: Path
    runs: Path
    out: Path
    shorten: int = 1

    def train(
        self, name: str, family: str, data: str | Path, *, name_of_model: str | None = None, **settings: Any
    ) -> Any:
        """A model in eval mode, trained by its family's recipe and these settings unless it lies in ``runs``."""
        folder = self.runs / name
        plain = [f"{key.replace('__', '.')}={json.dumps(value)}" for key, value in settings.items()]
        quiet = ["log_every=100000", "evaluate_every=100000", "save_every=100000"]
        config = resolve(family, None, [*quiet, *plain], {"name": name_of_model or name[:16]})
        if self.shorten > 1:
            config = config.model_copy(update={"steps": max(2, config.steps // self.shorten), "time_budget": None})
        begin = time.process_time()
        with torch.enable_grad():
            outcome = fit(config, data, folder, resume=AUTO)
        if outcome.interrupted:
            raise UsageError(f"{name}: interrupted; the same command goes on with it")
        print(f"  {name}: {outcome.step} steps, {time.process_time() - begin:.0f} CPU s in this call", flush=True)
        return checkpoint.load(outcome.checkpoint).module

    def keep(self, row: str, records: list[Record], **more: Any) -> None:
        """Write ROW.csv and ROW.json (where it comes from), and print the table."""
        self.out.mkdir(parents=True, exist_ok=True)
        columns = list(dict.fromkeys(key for record in records for key in record))
        write_records(self.out / f"{row}.csv", columns, records, DIGITS)
        text = json.dumps(provenance.collect(row=row, **more), indent=1, ensure_ascii=False) + "\n"
        (self.out / f"{row}.json").write_text(text, encoding="utf-8")
        print(markdown(records))

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Every array of ``small/NAME.npz``."""
        with np.load(self.small(name)) as pack:
            return {key: pack[key] for key in pack.files}

    def small(self, name: str) -> Path:
        """The path of ``small/NAME.npz``."""
        return self.data / "small" / f"{name}.npz"


def tidy(value: Any) -> Any:
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else value


def markdown(records: list[Record]) -> str:
    """A table of records; columns are those of the first one."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(str(tidy(record.get(key, ''))) for key in columns)} |" for record in records]
    return "\n".join(lines)


def digits(bench: Bench, name: str = "mnist") -> tuple[torch.Tensor, np.ndarray, torch.Tensor, np.ndarray]:
    """Train and test pictures (N, 1, 28, 28) float32 in [0, 1] and their labels (N,)."""
    pack = bench.arrays(name)
    train, test = (torch.from_numpy(pack[key])[:, None].float() / 255.0 for key in ("x_train", "x_test"))
    return train, pack["y_train"].astype(np.int64), test, pack["y_test"].astype(np.int64)


def squared_error(x_hat: torch.Tensor, x: torch.Tensor) -> float:
    """J per item: squared error summed over an item, averaged over items."""
    return float((x_hat - x).square().flatten(1).sum(1).mean())


@torch.no_grad()
def reconstruct(model: Any, x: torch.Tensor) -> torch.Tensor:
    """All items through a model, in batches."""
    return torch.cat([model.reconstruct(batch) for batch in x.split(1000)])


def write_png(page: torch.Tensor, path: Path, enlarge: int = 1) -> None:
    """(1 or 3, H, W) in [0, 1] -> a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (page.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if enlarge > 1:
        image = image.resize((image.width * enlarge, image.height * enlarge), Image.Resampling.NEAREST)
    image.save(path, optimize=True)


def filters(rows: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Weights (n, prod(shape)) as pictures, grey for zero, each stretched to its own largest weight."""
    largest = rows.abs().amax(1, keepdim=True).clamp_min(1e-9)
    return (0.5 + 0.5 * rows / largest).unflatten(1, shape)
