"""Pictures that the codec was not made for, or that people look at closely, beside PNG and WebP at the same size.

    python benchmarks/failure_cases.py --out benchmarks/results/failures
    python benchmarks/failure_cases.py --pictures cases && aecodec flip cases -o eyes --codecs aec,webp

Text, screens and the like are drawn from seeds; the night and the portrait are free photographs. Leaves cases.md, a row
for each picture and quality, cases.json, where it comes from, and cases.png, crops at the lowest quality.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from drawn_pictures import KINDS, drawn
from PIL import Image, ImageDraw, ImageFont

from aecodec.bench import provenance
from aecodec.bench.codecs import FileCodec
from aecodec.bench.crops import detailed_window
from aecodec.bench.opening import open_codec
from aecodec.bench.peers.pillow_format import saved
from aecodec.bench.sizing import nearest
from aecodec.data.files import make_folder, write_atomic
from aecodec.metrics import psnr, ssimulacra2
from aecodec.zoo.registry import DEFAULT_MODEL

SEED, HEIGHT, WIDTH = 3, 320, 480
_ROOT = Path(__file__).resolve().parents[1]
#: Photographs, with the part that is taken: left, top, right, bottom.
PHOTOS = {
    "night": (_ROOT / "scripts" / "samples" / "city-night.png", (48, 160, 528, 480)),
    "portrait": (_ROOT / "benchmarks" / "cases" / "portrait.png", (0, 0, 256, 256)),
}
#: Side of the crops of the sheet, the space for words above them, and how many pictures stand beside each other.
TILE, WORDS, ACROSS = 128, 20, 2
_HEAD = (
    "| picture | quality | bpp | PSNR (dB) | SSIMULACRA2 | WebP, bpp | WebP, PSNR (dB) | WebP, SSIMULACRA2 "
    "| PNG, bpp | lossless WebP, bpp |"
)


@dataclass(frozen=True)
class Case:
    """A picture at a quality: its file's size in bits per pixel, and what comes back."""

    bpp: float
    shown: Image.Image


def cases() -> dict[str, Image.Image]:
    """Name -> picture."""
    found = {kind: Image.fromarray(drawn(kind, SEED, HEIGHT, WIDTH)) for kind in KINDS}
    for name, (path, part) in PHOTOS.items():
        with Image.open(path) as image:
            # Pixels alone: a profile would be kept in our file and not in the other.
            found[name] = Image.fromarray(np.asarray(image.convert("RGB").crop(part)))
    return found


def pair(ours: FileCodec, webp: FileCodec, image: Image.Image, quality: float) -> tuple[Case, Case]:
    """Our file at a quality, and WebP at the size that is nearest to it."""
    data = ours.encode(image, quality)
    other = nearest(webp, image, len(data)).data
    share = 8 / (image.width * image.height)
    return Case(share * len(data), ours.decode(data)), Case(share * len(other), webp.decode(other))


def row(name: str, image: Image.Image, quality: float, both: tuple[Case, Case]) -> str:
    """A line of the table."""
    original, share = np.asarray(image), 8 / (image.width * image.height)
    cells = [name, f"{quality:g}"]
    for case in both:
        shown = np.asarray(case.shown)
        cells += [f"{case.bpp:.3f}", f"{psnr(original, shown):.2f}", f"{ssimulacra2(original, shown):.1f}"]
    cells += [f"{share * len(saved(image, 'PNG', optimize=True)):.3f}"]
    cells += [f"{share * len(saved(image, 'WEBP', lossless=True)):.3f}"]
    return f"| {' | '.join(cells)} |"


def sheet(rows: list[tuple[str, Image.Image, tuple[Case, Case]]]) -> Image.Image:
    """Crops of every picture: the original, ours, WebP."""
    group = 3 * TILE + 12
    canvas = Image.new("RGB", (ACROSS * group, -(-len(rows) // ACROSS) * (TILE + WORDS + 6)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for place, (name, image, (ours, webp)) in enumerate(rows):
        left, top = place % ACROSS * group, place // ACROSS * (TILE + WORDS + 6)
        box = detailed_window(np.asarray(image), TILE)
        words = (name, f"aecodec, {ours.bpp:.2f} bpp", f"WebP, {webp.bpp:.2f} bpp")
        for column, (text, shown) in enumerate(zip(words, (image, ours.shown, webp.shown), strict=True)):
            x = left + column * TILE
            draw.text((x + 3, top + 3), text, (20, 20, 20), font)
            canvas.paste(shown.crop(box), (x, top + WORDS))
    return canvas


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--qualities", default="20,50", show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the table and the sheet.")
@click.option("--pictures", type=click.Path(file_okay=False, path_type=Path), help="Folder to write the pictures to.")
def main(model: str, qualities: str, out: Path | None, pictures: Path | None) -> None:
    if pictures:
        make_folder(pictures)
        for name, image in cases().items():
            write_atomic(pictures / f"{name}.png", saved(image, "PNG"), overwrite=True)
    if out is None:
        return
    ours, webp = open_codec(f"aec:{model}"), open_codec("webp")
    asked = sorted(float(part) for part in qualities.split(","))
    lines, shown = [_HEAD, "|---" * (_HEAD.count("|") - 1) + "|"], []
    for name, image in cases().items():
        for quality in asked:
            both = pair(ours, webp, image, quality)
            lines.append(row(name, image, quality, both))
            click.echo(lines[-1])
            if quality == asked[0]:
                shown.append((name, image, both))
    make_folder(out)
    buffer = io.BytesIO()
    sheet(shown).save(buffer, "PNG", optimize=True)
    write_atomic(out / "cases.png", buffer.getvalue(), overwrite=True)
    write_atomic(out / "cases.md", ("\n".join(lines) + "\n").encode(), overwrite=True)
    origin = provenance.collect(model=model, fingerprint=ours.version, seed=SEED)
    write_atomic(out / "cases.json", (json.dumps(origin, indent=1) + "\n").encode(), overwrite=True)


if __name__ == "__main__":
    main()
