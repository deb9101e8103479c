"""Which copy `aecodec dedup --keep` keeps, and how flat pictures are.

    python benchmarks/kept_copies.py --photos TRAIN_PHOTOS --out benchmarks/results/hashing

Protocol. Each photograph, at most 1024 pixels a side, is saved as JPEG of quality 88: the original. Each copy is made
of that, and a rule of `aecodec.search.keeping` is asked which of both it would keep; of copies as old as the original a
tie counts as the original. Flatness: the standard deviation by which pictures are taken for too flat to tell, of all
photographs as they are.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageFilter

from aecodec.bench import provenance
from aecodec.contracts import AecodecError
from aecodec.data.files import make_folder, write_atomic
from aecodec.data.folders import list_photos
from aecodec.search.duplicates import Member
from aecodec.search.keeping import FLAT, KEEP, Measured, detail_of, measure

#: Pixels of the longer side at most, and the quality of the original.
_SIDE, _QUALITY = 1024, 88
_RULES = ("best", "largest", "sharpest")


def saved(image: Image.Image, form: str = "JPEG", quality: int = _QUALITY) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, form, quality=quality)
    return buffer.getvalue()


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """Both sides by a factor."""
    filtering = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BICUBIC
    return image.resize((round(image.width * factor), round(image.height * factor)), filtering)


#: What the table calls a copy -> how it is made.
COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "half size": lambda image: saved(scaled(image, 0.5)),
    "JPEG, quality 50": lambda image: saved(image, quality=50),
    "JPEG, quality 70": lambda image: saved(image, quality=70),
    "JPEG, quality 80": lambda image: saved(image, quality=80),
    "WebP, quality 60": lambda image: saved(image, "WEBP", 60),
    "JPEG, quality 95": lambda image: saved(image, quality=95),
    "PNG": lambda image: saved(image, "PNG"),
    "softened, quality 88": lambda image: saved(image.filter(ImageFilter.GaussianBlur(1))),
    "softened, quality 97": lambda image: saved(image.filter(ImageFilter.GaussianBlur(1)), quality=97),
    "double size": lambda image: saved(scaled(image, 2)),
}


def judged(data: bytes) -> tuple[Member, Measured]:
    """A file as the rules see it."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    seen = Measured(pixels.shape[1], pixels.shape[0], FLAT, detail_of(pixels))
    return Member(0, "", Path(), len(data), 0), seen


def kept_table(paths: list[Path]) -> str:
    """Markdown: a row for each kind of copy, the share of originals that each rule keeps."""
    kept: dict[str, list[list[bool]]] = {name: [] for name in COPIES}
    for path in paths:
        image = Image.open(path).convert("RGB")
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        data = saved(image)
        image, original = Image.open(io.BytesIO(data)).convert("RGB"), judged(data)
        for name, make in COPIES.items():
            copy = judged(make(image))
            kept[name].append([KEEP[rule](*original) <= KEEP[rule](*copy) for rule in _RULES])
    lines = [f"| copy | {' | '.join(f'`{rule}`' for rule in _RULES)} |", "|---|---|---|---|"]
    lines += [f"| {name} | {' | '.join(f'{share:.2f}' for share in np.mean(kept[name], axis=0))} |" for name in COPIES]
    return "\n".join(lines) + "\n"


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--photos", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of photographs.")
@click.option("--limit", type=click.IntRange(1), default=200, show_default=True, help="Photographs that are copied.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
def main(photos: Path, limit: int, out: Path) -> None:

    try:
        paths = list_photos(photos)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    some = [paths[place] for place in np.random.default_rng(0).permutation(len(paths))[:limit]]
    make_folder(out)
    deviations = sorted(seen.deviation for path in paths if (seen := measure(path)) is not None)
    facts = provenance.collect(
        photographs=len(paths),
        copied=len(some),
        flattest=[round(one, 2) for one in deviations[:5]],
        flat=sum(one < FLAT for one in deviations),
    )
    write_atomic(out / "kept_copies.md", kept_table(some).encode(), overwrite=True)
    write_atomic(out / "kept_copies.json", (json.dumps(facts, indent=1) + "\n").encode(), overwrite=True)


if __name__ == "__main__":
    main()
