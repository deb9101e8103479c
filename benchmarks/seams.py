"""Whether tiles leave seams: PSNR in the band beside the borders of tiles against the rest of the picture.

    python benchmarks/seams.py [--side 1024] [--tile 256] [--seeds 4] [--photo FILE] [--out FOLDER]

On pictures that are alike everywhere (smooth: sums of waves; textured: filtered noise) band and rest differ by what the
borders do, and by chance. A photograph is not alike everywhere; for it, the band of the tiled file is compared with
the same pixels of a file of one tile.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import click
import numpy as np

from aecodec.bench import provenance
from aecodec.codec.codec import Codec
from aecodec.data.images import Picture, read_picture

#: Pixels to each side of a border that make up the band.
BAND = 8


def smooth(side: int, seed: int = 0) -> np.ndarray:
    """(side, side, 3) uint8: slow waves in many directions."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    planes = np.zeros((side, side, 3), np.float32)
    for _ in range(24):
        angle, period = rng.uniform(0, 2 * math.pi), rng.uniform(60, 200)
        wave = np.cos(2 * math.pi * (rows * math.sin(angle) + columns * math.cos(angle)) / period + rng.uniform(0, 6))
        planes += wave[..., None] * rng.normal(0, 9, 3).astype(np.float32)
    return np.clip(np.rint(planes + 128), 0, 255).astype(np.uint8)


def textured(side: int, seed: int = 0) -> np.ndarray:
    """(side, side, 3) uint8: noise whose power falls with frequency as that of photographs does."""
    rng = np.random.default_rng(1000 + seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    shape = 1 / np.maximum(frequency, 0.02)
    base = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) * shape, (side, side))
    planes = [
        base + 0.3 * np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) * shape, (side, side)) for _ in "rgb"
    ]
    pixels = np.stack(planes, axis=2)
    return np.clip(np.rint(128 + 45 * pixels / pixels.std()), 0, 255).astype(np.uint8)


def band(height: int, width: int, tile: int) -> np.ndarray:
    """(height, width) bool: within BAND pixels of a border between tiles."""
    rows, columns = (np.zeros(side, bool) for side in (height, width))
    for lines in (rows, columns):
        for border in range(tile, len(lines), tile):
            lines[border - BAND : border + BAND] = True
    return rows[:, None] | columns[None]


def decibels(squared: np.ndarray) -> float:
    return 10 * math.log10(255**2 / squared.mean())


def measure(pictures: list[np.ndarray], tile: int, quality: float, codec: Codec) -> tuple[float, float, float]:
    """PSNR over pictures in the band and in the rest of tiled files, and in the band where there are no borders."""
    inside, outside, whole = [], [], []
    for pixels in pictures:
        chosen, errors = band(*pixels.shape[:2], tile), []
        for side in (tile, 1 << 14):
            tiled = Codec(codec.engine, tile=side)
            decoded = tiled.decode_picture(tiled.encode_picture(Picture(pixels), quality=quality, effort=1).data).pixels
            errors.append((decoded.astype(np.float64) - pixels) ** 2)
        inside.append(errors[0][chosen])
        outside.append(errors[0][~chosen])
        whole.append(errors[1][chosen])
    return decibels(np.concatenate(inside)), decibels(np.concatenate(outside)), decibels(np.concatenate(whole))


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--side", type=click.IntRange(512), default=1024, show_default=True)
@click.option("--tile", type=click.IntRange(256), default=256, show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=4, show_default=True, help="Synthetic pictures of each kind.")
@click.option("--photo", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True)
@click.option("--qualities", default="15,35,60", show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(side: int, tile: int, seeds: int, photo: tuple[Path, ...], qualities: str, out: Path | None) -> None:
    codec = Codec.from_pretrained()
    kinds = {"smooth": smooth, "textured": textured}
    pictures = {name: [draw(side, seed) for seed in range(seeds)] for name, draw in kinds.items()}
    pictures.update({path.stem: [np.asarray(read_picture(path).pixels)] for path in photo})
    lines = [
        "| picture | quality | band | rest | band - rest | band without borders | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, drawn in pictures.items():
        for quality in (float(part) for part in qualities.split(",")):
            inside, outside, whole = measure(drawn, tile, quality, codec)
            apart = f"{inside - outside:+.3f} dB" if name in kinds else "(not alike)"
            lines.append(
                f"| {name} | {quality:g} | {inside:.3f} dB | {outside:.3f} dB | {apart} "
                f"| {whole:.3f} dB | {inside - whole:+.3f} dB |"
            )
            click.echo(lines[-1])
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "seams.md").write_text("\n".join(lines) + "\n")
        (out / "seams.json").write_text(
            json.dumps(provenance.collect(side=side, tile=tile, seeds=seeds), indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
