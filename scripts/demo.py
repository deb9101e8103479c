"""The demo: sample photographs at three qualities, beside JPEG, WebP and AVIF of the same size."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont, features
from rich.console import Console
from rich.table import Table

from aecodec import Codec
from aecodec.data.images import read_picture
from aecodec.metrics.ms_ssim import ms_ssim
from aecodec.metrics.psnr import psnr

QUALITIES = (15.0, 30.0, 50.0)
SHOWN_QUALITY = QUALITIES[1]
CROP = 200
ZOOM = 2
MARGIN = 16
CAPTION = 44


@dataclass(frozen=True)
class Result:
    """One picture under one codec. pixels: (H, W, 3) uint8; times in seconds."""

    codec: str
    size: int
    bpp: float
    psnr: float
    ms_ssim: float
    encode: float
    decode: float
    pixels: np.ndarray


def peers() -> dict[str, Callable[[Image.Image, int], bytes]]:
    """Codecs of Pillow that this installation has: name -> (image, quality) -> bytes."""

    def saver(kind: str, **options: object) -> Callable[[Image.Image, int], bytes]:
        def save(image: Image.Image, quality: int) -> bytes:
            buffer = io.BytesIO()
            image.save(buffer, kind, quality=quality, **options)
            return buffer.getvalue()

        return save

    table = {"JPEG": saver("JPEG", optimize=True)}
    if features.check("webp"):
        table["WebP"] = saver("WEBP", method=4)
    if features.check("avif"):
        table["AVIF"] = saver("AVIF", speed=6)
    return table


def closest(image: Image.Image, encode: Callable[[Image.Image, int], bytes], size: int) -> bytes:
    """The file whose size is nearest to ``size`` over qualities 1 to 95, by bisection."""
    low, high = 1, 95
    tried = {}
    while low <= high:
        middle = (low + high) // 2
        tried[middle] = encode(image, middle)
        if len(tried[middle]) < size:
            low = middle + 1
        else:
            high = middle - 1
    return min(tried.values(), key=lambda data: abs(len(data) - size))


def measure(
    name: str, image: Image.Image, encode: Callable[[], bytes], decode: Callable[[bytes], Image.Image]
) -> Result:
    """Run a codec both ways and compare."""
    begin = time.perf_counter()
    data = encode()
    middle = time.perf_counter()
    back = np.asarray(decode(data).convert("RGB"))
    end = time.perf_counter()
    original = np.asarray(image)
    bpp = 8.0 * len(data) / (image.width * image.height)
    return Result(
        name, len(data), bpp, psnr(original, back), ms_ssim(original, back), middle - begin, end - middle, back
    )


def decode_with_pillow(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def run_photo(codec: Codec, image: Image.Image, quality: float) -> list[Result]:
    """Ours first, then every peer at the nearest size."""
    ours = measure("aecodec", image, lambda: codec.encode(image, quality=quality), codec.decode)
    results = [ours]
    for name, encode in peers().items():
        data = closest(image, encode, ours.size)
        found = measure(name, image, lambda data=data: data, decode_with_pillow)
        results.append(found)
    return results


def add_rows(table: Table, name: str, original: int, quality: float, results: list[Result]) -> None:
    # A peer that cannot make a file as small is shown, but does not compete.
    fair = [result for result in results if result.size <= 1.05 * results[0].size]
    best = max(result.psnr for result in fair), max(result.ms_ssim for result in fair)
    for number, result in enumerate(results):
        nearest = "*" if result.ms_ssim == best[1] else " "
        similarity = "-" if math.isnan(result.ms_ssim) else f"{result.ms_ssim:.4f}{nearest}"
        decibel = f"{result.psnr:.2f}" + ("*" if result.psnr == best[0] else " ")
        times = (f"{result.encode:.2f}", f"{result.decode:.2f}") if number == 0 else ("", f"{result.decode:.2f}")
        head = (name, str(original), f"{quality:g}") if number == 0 else ("", "", "")
        table.add_row(*head, result.codec, str(result.size), f"{result.bpp:.3f}", decibel, similarity, *times)
    table.add_section()


def busiest_corner(pixels: np.ndarray) -> tuple[int, int]:
    """Upper left corner of the CROP x CROP square with the most detail, on a coarse grid."""
    grey = pixels.mean(axis=2)
    energy = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    rows = range(0, energy.shape[0] - CROP, CROP // 4)
    columns = range(0, energy.shape[1] - CROP, CROP // 4)
    return max(
        ((r, c) for r in rows for c in columns), key=lambda p: energy[p[0] : p[0] + CROP, p[1] : p[1] + CROP].sum()
    )


def sheet(rows: list[tuple[np.ndarray, int, list[Result]]]) -> Image.Image:
    """Crops side by side, one row per photograph: original, ours, the peers at the same size."""
    side = CROP * ZOOM
    columns = max(len(results) for _, _, results in rows) + 1
    canvas = Image.new(
        "RGB", (columns * (side + MARGIN) + MARGIN, len(rows) * (side + CAPTION + MARGIN) + MARGIN), (250, 250, 248)
    )
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    for row, (original, source_bytes, results) in enumerate(rows):
        top, left = busiest_corner(original)
        panels = [(original, "original", f"{source_bytes / 1000:.1f} kB")]
        panels += [(r.pixels, r.codec, f"{r.size / 1000:.1f} kB, {r.psnr:.2f} dB") for r in results]
        y = MARGIN + row * (side + CAPTION + MARGIN)
        for column, (pixels, name, numbers) in enumerate(panels):
            x = MARGIN + column * (side + MARGIN)
            crop = Image.fromarray(pixels[top : top + CROP, left : left + CROP]).resize(
                (side, side), Image.Resampling.NEAREST
            )
            canvas.paste(crop, (x, y + CAPTION))
            draw.text((x, y + 2), name, fill=(20, 20, 20), font=font)
            draw.text((x, y + 21), numbers, fill=(95, 95, 95), font=font)
    return canvas


@click.command()
@click.argument("photos", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo_output"), show_default=True)
def main(photos: tuple[Path, ...], out: Path) -> None:
    """Compress PHOTOS (the samples beside this script by default) at three qualities and compare."""
    paths = list(photos) or sorted((Path(__file__).parent / "samples").glob("*.[pj][np]g"))
    out.mkdir(parents=True, exist_ok=True)
    codec = Codec.from_pretrained()
    columns = ("photograph", "bytes", "quality", "codec", "bytes", "bpp", "PSNR", "MS-SSIM", "enc s", "dec s")
    table = Table(title=f"aecodec ({codec.name}) and peers at the same file size; * best of those")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number in (0, 3) else "right", no_wrap=True)
    shown = []
    for path in paths:
        image = Image.fromarray(read_picture(path).pixels).convert("RGB")
        for quality in QUALITIES:
            results = run_photo(codec, image, quality)
            (out / f"{path.stem}-q{quality:g}.aec").write_bytes(codec.encode(image, quality=quality))
            Image.fromarray(results[0].pixels).save(out / f"{path.stem}-q{quality:g}.png")
            add_rows(table, path.stem, path.stat().st_size, quality, results)
            if quality == SHOWN_QUALITY:
                shown.append((np.asarray(image), path.stat().st_size, results))
    Console(width=max(Console().width, 108)).print(table)
    picture = out / "side_by_side.png"
    sheet(shown).save(picture)
    click.echo(f"files and decoded pictures in {out}/; crops side by side in {picture}")


if __name__ == "__main__":
    main()
