"""One burst of training on a machine with a large GPU and no network, one of a chain of calls of limited length.

What a call needs travels with it; what should outlast it lies in a folder beside the checkout there (the chain):
pieces of the training set that earlier calls brought, the decoded set, the state of the optimiser, compiled kernels.
Each burst warms up, trains and anneals within its own seconds, evaluates files of held-out pictures, and leaves
weights, curve, log and its own throughput in a folder to take home: five files, each below 16 MiB.

Here, once (pieces of the photographs; wheels of what a bare machine with torch lacks):

    python scripts/make_pack.py PHOTOS pieces --piece-mib 44
    python -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d wheels \
        constriction pydantic pydantic-core annotated-types typing-inspection

There, in every call, with one piece in `carried/` (later calls may bring further pieces, or none):

    python3 -m pip install -q --no-index --no-deps --find-links wheels --target /tmp/site wheels/*.whl
    export PYTHONPATH=/tmp/site:$PWD PYTHONUNBUFFERED=1
    python3 scripts/burst.py --chain /var/tmp/chain --pieces carried --seconds 540 --out OUT

When the machine has gone and its chain with it, a new chain begins from the weights that the last call brought home:

    python3 scripts/burst.py --chain /var/tmp/chain --pieces carried --start model.safetensors --seconds 540 --out OUT

A full trial on a CPU, with a tiny model:

    python scripts/burst.py --chain chain --pieces pieces --seconds 60 --reserve 20 --out out --device cpu \
        --recipe scripts/zoo/photo-tiny.yaml --set model.channels=16 --set batch=2 --set crop=64 --set late_crop=64
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from aecodec import checkpoint
from aecodec.codec.codec import Codec
from aecodec.contracts import AecodecError, BatchSource, UsageError
from aecodec.data.batches import CropPlan, open_batches
from aecodec.data.files import make_folder
from aecodec.data.images import Picture
from aecodec.data.photos import PhotoPack
from aecodec.data.pieces import read_pieces
from aecodec.device import pick_device
from aecodec.metrics.psnr import psnr
from aecodec.train.config import TrainConfig, resolve
from aecodec.train.loop import CHECKPOINT_FILE, CURVE_FILE, STATE_FILE, Run, fit
from aecodec.train.state import build_model

ROOT = Path(__file__).resolve().parent.parent
PACK_FILE = "photos.npz"
#: No file that is taken home may be larger.
FILE_LIMIT = 16 * 2**20
#: The first steps compile and warm up, and are left out of the throughput.
WARM_STEPS = 20
#: Every so many steps, drawing a batch is timed alone, between two waits for the device.
SAMPLE_EVERY = 25
HELD_QUALITIES = (10.0, 40.0, 70.0, 95.0)
HELD_SIDE = 512


@dataclass
class Throughput:
    """A BatchSource's wrapping that measures the loop which draws from it.

    batch: how many the loop draws; the start and the export draw other numbers and are not counted.
    """

    source: BatchSource
    device: torch.device
    batch: int
    draws: int = 0
    images: int = 0
    drawing: list[float] = field(default_factory=list)
    busy: list[tuple[float, float]] = field(default_factory=list)
    warm_at: float = 0.0
    last: float = 0.0
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    def __len__(self) -> int:
        return len(self.source)

    def held_out(self) -> list[torch.Tensor]:
        return self.source.held_out()

    def draw(self, count: int, rng: torch.Generator, share: float = 0.0) -> torch.Tensor:
        """The source's batch; its time is taken now and then."""
        if count != self.batch:
            return self.source.draw(count, rng, share)
        sampled = self.draws > WARM_STEPS and self.draws % SAMPLE_EVERY == 0
        if sampled:
            self._wait()
        begin = time.perf_counter()
        batch = self.source.draw(count, rng, share)
        if sampled:
            self._wait()
            self.drawing.append(time.perf_counter() - begin)
        self.last = time.perf_counter()
        if self.draws == WARM_STEPS:
            self.warm_at, self.images = self.last, 0
        elif self.draws > WARM_STEPS:
            self.images += len(batch)
        self.draws += 1
        return batch

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def watch(self) -> None:
        """Ask the driver how busy the GPU is, twice a second, until `done`; where it does not tell, nothing."""
        while not self.done.wait(0.5):
            try:
                self.busy.append((time.perf_counter(), torch.cuda.utilization(self.device) / 100.0))
            except (RuntimeError, ModuleNotFoundError, ValueError, OSError):
                return

    def figures(self) -> dict[str, Any]:
        """Steps and images a second after the warm-up, the share of time spent on data, the GPU's busy share."""
        seconds, steps = self.last - self.warm_at, self.draws - 1 - WARM_STEPS
        if steps < 1 or seconds <= 0:
            return {"steps_per_second": None, "images_per_second": None, "data_share": None, "gpu_busy": None}
        busy = [share for at, share in self.busy if self.warm_at <= at <= self.last]
        return {
            "steps_per_second": round(steps / seconds, 3),
            "images_per_second": round(self.images / seconds, 1),
            "data_share": round(float(np.mean(self.drawing)) * steps / seconds, 4) if self.drawing else None,
            "gpu_busy": round(float(np.mean(busy)), 3) if busy else None,
        }


def unpack(chain: Path, pieces: Path | None) -> Path:
    """Add pieces to the chain's and decode all of them, if any is new -> the pack to train on. Raises UsageError."""
    kept = chain / "pieces"
    make_folder(kept)
    new = [p for p in sorted(pieces.glob("*.zip")) if not (kept / p.name).exists()] if pieces else []
    for piece in new:
        shutil.copyfile(piece, kept / piece.name)
    pack = chain / PACK_FILE
    if new or not pack.exists():
        paths = sorted(kept.glob("*.zip"))
        if not paths:
            raise UsageError(f"the chain {chain} has no pieces of photographs yet; give some with --pieces")
        training, held = read_pieces(paths, torch.device("cpu"), threads=os.cpu_count() or 1)
        training.save(pack, held)
        aside = len(held) if held is not None else 0
        click.echo(f"{len(paths)} pieces: {len(training)} pictures to train on, {aside} kept aside")
    return pack


def plan_burst(
    recipe: Path, family: str, settings: list[str], device: str | None, seconds: float, steps: int | None
) -> TrainConfig:
    """The recipe with its schedule stretched over these seconds, or over so many steps. Raises UsageError."""
    if seconds <= 0:
        raise UsageError("no time is left to train: raise --seconds or lower --reserve")
    length = {"time_budget": seconds} if steps is None else {"steps": steps}
    return resolve(family, recipe, settings, {"device": device, **length})


def going_on(config: TrainConfig, trained: bool) -> TrainConfig:
    """A burst on trained weights keeps the scale net on its integer grid from the start."""
    known = trained and hasattr(build_model(config, (3, config.crop, config.crop)).config, "quantise_from")
    return config.model_copy(update={"model": {**config.model, "quantise_from": 0.0}}) if known else config


def check_size(config: TrainConfig) -> None:
    """Raise UsageError now if the weights would be too large to take home."""
    model = build_model(config, (3, config.crop, config.crop))
    size = sum(
        tensor.numel() * (2 if config.half and tensor.is_floating_point() else tensor.element_size())
        for tensor in model.state_dict().values()
    )
    if size > 0.95 * FILE_LIMIT:
        raise UsageError(f"the weights will take {size / 2**20:.1f} MiB, and {FILE_LIMIT / 2**20:g} come home")


def evaluate_files(path: Path, held: PhotoPack, device: torch.device, until: float) -> list[dict[str, Any]]:
    """Real files of the middles of held-out pictures -> mean bpp and PSNR per quality; begins none after ``until``."""
    codec = Codec(checkpoint.load(path, device))
    sums = {quality: np.zeros(3) for quality in HELD_QUALITIES}
    for number in range(len(held)):
        pixels = held.picture(number).cpu().numpy()
        top, left = (max(0, (side - HELD_SIDE) // 2) for side in pixels.shape[:2])
        pixels = np.ascontiguousarray(pixels[top : top + HELD_SIDE, left : left + HELD_SIDE])
        if time.monotonic() > until:
            break
        for quality in HELD_QUALITIES:
            encoded = codec.encode_picture(Picture(pixels), quality=quality)
            level = psnr(pixels, codec.decode_picture(encoded.data).pixels)
            sums[quality] += (encoded.bpp, level, 1)
    return [
        {"quality": quality, "pictures": int(n), "bpp": round(bpp / n, 5), "psnr": round(level / n, 4)}
        for quality, (bpp, level, n) in sums.items()
        if n
    ]


def take_home(out: Path, run: Path, figures: dict[str, Any], rows: list[dict[str, Any]], log: list[str]) -> None:
    """Weights, curve, held.csv, burst.json and burst.log -> ``out``."""
    make_folder(out)
    shutil.copyfile(run / CHECKPOINT_FILE, out / CHECKPOINT_FILE)
    shutil.copyfile(run / CURVE_FILE, out / CURVE_FILE)
    with open(out / "held.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("quality", "pictures", "bpp", "psnr"), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (out / "burst.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (out / "burst.log").write_text("\n".join(log) + "\n", encoding="utf-8")


def logger(log: list[str]) -> Callable[[Run, dict[str, float]], None]:
    """A report for `fit` that prints a line and keeps it."""

    def report(run: Run, means: dict[str, float]) -> None:
        parts = [f"{key} {means[key]:.4g}" for key in ("loss", "bpp", "psnr", "grad_norm", "eval_loss") if key in means]
        log.append(f"step {run.progress.step} ({run.share():.1%}): {', '.join(parts)}")
        click.echo(log[-1])

    return report


@dataclass(frozen=True)
class Burst:
    """What one call is asked for."""

    chain: Path
    pieces: Path | None
    out: Path
    recipe: Path
    family: str
    settings: tuple[str, ...]
    seconds: float
    reserve: float
    start: Path | None
    device: str | None
    steps: int | None

    def run(self) -> dict[str, Any]:
        """Unpack, train, evaluate, take home -> the figures of burst.json."""
        begin = time.monotonic()
        make_folder(self.chain)
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(self.chain.resolve() / "kernels"))
        folder = self.chain / "run"
        state = folder / STATE_FILE if (folder / STATE_FILE).exists() else None
        pack = unpack(self.chain, self.pieces)
        unpacked = time.monotonic() - begin
        left = self.seconds - self.reserve - unpacked
        left = self.seconds - self.reserve - unpacked
        config = plan_burst(self.recipe, self.family, list(self.settings), self.device, left, self.steps)
        config = going_on(config, state is not None or self.start is not None)
        check_size(config)
        device, log = pick_device(config.device), [f"torch {torch.__version__}, {config.device}"]
        plan = CropPlan(config.crop, config.late_crop, config.late_from, config.downscale, hold_out=1)
        source = Throughput(open_batches(pack, device, plan), device, config.batch)
        watcher = threading.Thread(target=source.watch, daemon=True)
        if device.type == "cuda":
            watcher.start()
        trained = time.monotonic()
        outcome = fit(
            config,
            source,
            folder,
            resume=state,
            weights=self.start,
            new_schedule=True,
            max_seconds=left,
            report=logger(log),
        )
        source.done.set()
        exported = time.monotonic()
        held = PhotoPack.load_held(pack, torch.device("cpu"))
        rows = []
        if held is not None:
            rows = evaluate_files(outcome.checkpoint, held, device, begin + self.seconds - 5.0)
        figures = {
            **source.figures(),
            "steps": source.draws,
            "steps_in_all": outcome.step,
            "pictures": len(source),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "torch": torch.__version__,
            "went_on": state is not None,
            "interrupted": outcome.interrupted,
            "seconds": {
                "unpack": round(unpacked, 1),
                "train_and_export": round(exported - trained, 1),
                "evaluate": round(time.monotonic() - exported, 1),
            },
        }
        if device.type == "cuda":
            figures["peak_gib"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
        log.extend(f"quality {row['quality']:g}: {row['bpp']} bpp, {row['psnr']} dB" for row in rows)
        take_home(self.out, folder, figures, rows, log)
        figures["seconds"]["all"] = round(time.monotonic() - begin, 1)
        return figures


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--chain", type=click.Path(path_type=Path), required=True, help="Folder that outlasts the call.")
@click.option("--pieces", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Pieces brought along.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to take home.")
@click.option("--recipe", type=click.Path(path_type=Path), default=ROOT / "scripts" / "zoo" / "photo-small.yaml")
@click.option("--family", default="exact-hyperprior", show_default=True)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting other than the recipe's.")
@click.option("--seconds", type=click.FloatRange(1), required=True, help="Length of the whole call.")
@click.option("--reserve", default=60.0, show_default=True, help="Seconds for export, evaluation and copying.")
@click.option("--start", type=click.Path(path_type=Path, exists=True), help="Weights for a chain without a state.")
@click.option("--device", help="auto, cpu, cuda.")
@click.option("--steps", type=click.IntRange(1), help="Anneal over so many steps rather than over the seconds.")
def main(settings: tuple[str, ...], **asked: Any) -> None:
    try:
        figures = Burst(settings=settings, **asked).run()
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    for key, value in figures.items():
        click.echo(f"{key}: {value}")
    with suppress(FileNotFoundError):
        for path in sorted(asked["out"].iterdir()):
            click.echo(f"{path}: {path.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
