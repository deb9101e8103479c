"""What `aecodec compress` warns of: how many photographs, and which drawn pictures that PNG or WebP keeps better.

    python benchmarks/unlike_photographs.py --photos kodak=KODAK --seeds 100-104 --out benchmarks/results/failures

A picture is kept better by PNG if that is no larger than the .aec file, and by WebP if the lossless one is no larger or
the lossy one has a higher PSNR in at most as many bytes. Of photographs only those that are warned of are judged.
Adds to the tables in the folder: rows of the same name are replaced.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from drawn_pictures import KINDS, drawn
from PIL import Image

from aecodec.bench import provenance
from aecodec.bench.measurements import pictures_in, read_rgb
from aecodec.bench.opening import open_codec
from aecodec.bench.peers.pillow_format import saved
from aecodec.bench.sizing import at_most
from aecodec.codec.codec import Codec
from aecodec.codec.fidelity import SUSPICIOUS, doubt, survey
from aecodec.data.files import make_folder, write_atomic
from aecodec.data.images import Picture
from aecodec.metrics import psnr

#: Heights and widths of drawn pictures, one after the other.
SIZES = ((256, 256), (320, 480), (384, 512))
PHOTOS = "| photographs | pictures | warned of | of them kept better by PNG or WebP |"
DRAWN = "| drawn | quality | pictures | kept better by PNG or WebP | of them warned of | warned of without cause |"


@dataclass(frozen=True)
class Found:
    """One picture at one quality. beaten: PNG or WebP keeps it better in a file of that size."""

    warned: bool
    beaten: bool


def judged(codec: Codec, pixels: np.ndarray, quality: float, *, if_warned: bool = False) -> Found:
    """Encode a picture, ask for the warning, and look whether it is right; if_warned: only where there is one."""
    picture, image = Picture(pixels), Image.fromarray(pixels)
    data = codec.encode_picture(picture, quality=quality).data
    warned = doubt(codec, picture, data) is not None
    if if_warned and not warned:
        return Found(False, False)
    lossless = min(len(saved(image, "PNG", optimize=True)), len(saved(image, "WEBP", lossless=True)))
    if lossless <= len(data):
        return Found(warned, True)
    webp = open_codec("webp")
    found = at_most(webp, image, len(data))
    better = psnr(pixels, np.asarray(webp.decode(found.data))) > psnr(pixels, codec.decode_picture(data).pixels)
    return Found(warned, better and len(found.data) <= len(data))


def of_photographs(codec: Codec, folder: Path, quality: float) -> tuple[int, list[Found]]:
    """The number of pictures below a folder, and what is found of those that may be warned of at all."""
    folders = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
    paths, asked = [path for one in folders for path in pictures_in(one)], []
    for path in paths:
        pixels = np.asarray(read_rgb(path))
        seen = survey(pixels)
        if seen.drawn or seen.change >= SUSPICIOUS:
            asked.append(judged(codec, pixels, quality, if_warned=True))
            click.echo(f"{path.name}: {asked[-1]}, {seen.equal:.3f} equal, {seen.edges:.3f} edges", err=True)
    return len(paths), asked


def of_drawn(codec: Codec, seeds: range, qualities: list[float]) -> Iterator[tuple[str, float, list[Found]]]:
    """Each kind at each quality, over pictures of all seeds."""
    for kind in KINDS:
        pictures = [drawn(kind, seed, *SIZES[seed % len(SIZES)]) for seed in seeds]
        for quality in qualities:
            yield kind, quality, [judged(codec, pixels, quality) for pixels in pictures]


def kept(path: Path, head: str, rows: list[str]) -> str:
    """A table with these rows, after those of other names that are in the file."""
    names = {_name(row) for row in rows}
    old = path.read_text(encoding="utf-8").splitlines()[2:] if path.exists() else []
    lines = [head, "|---" * (head.count("|") - 1) + "|", *(row for row in old if _name(row) not in names), *rows]
    text = "\n".join(lines)
    write_atomic(path, f"{text}\n".encode(), overwrite=True)
    return text


def _name(row: str) -> str:
    return row.split("|")[1].strip()


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--photos", multiple=True, metavar="NAME=FOLDER", help="Photographs; may be repeated.")
@click.option("--seeds", metavar="FROM-TO", help="Seeds of drawn pictures, both ends included.")
@click.option("--qualities", default="20,50", show_default=True, help="Of drawn pictures; photographs are at 50.")
@click.option("--model", default="photo", show_default=True)
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the tables.")
def main(photos: tuple[str, ...], seeds: str | None, qualities: str, model: str, out: Path) -> None:
    codec = Codec.from_pretrained(model)
    make_folder(out)
    for text in photos:
        name, _, folder = text.rpartition("=")
        count, asked = of_photographs(codec, Path(folder), 50)
        right = sum(one.warned and one.beaten for one in asked)
        line = f"| {name} | {count} | {sum(one.warned for one in asked)} | {right} |"
        click.echo(kept(out / "warned_photographs.md", PHOTOS, [line]))
    if seeds:
        first, _, last = seeds.partition("-")
        asked_for = range(int(first), int(last) + 1)
        rows = []
        for kind, quality, found in of_drawn(codec, asked_for, [float(part) for part in qualities.split(",")]):
            beaten = [one for one in found if one.beaten]
            rows.append(
                f"| {kind} | {quality:g} | {len(found)} | {len(beaten)} | {sum(one.warned for one in beaten)} "
                f"| {sum(one.warned and not one.beaten for one in found)} |"
            )
            click.echo(rows[-1], err=True)
        click.echo(kept(out / "warned_drawn.md", DRAWN, rows))
    name = "warned_drawn" if seeds else "warned_photographs"
    origin = provenance.collect(model=model, fingerprint=codec.fingerprint.hex(), seeds=seeds)
    write_atomic(out / f"{name}.json", (json.dumps(origin, indent=1) + "\n").encode(), overwrite=True)


if __name__ == "__main__":
    main()
