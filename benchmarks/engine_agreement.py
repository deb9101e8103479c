"""Whether two engines agree: files of each decoded by both, latents and pixels compared, rate and distortion of each.

    python benchmarks/engine_agreement.py PICTURES [--qualities 10,30,50,70,95] [--out FOLDER]

Latents must be identical and pixels within one level, whoever wrote the file; the exit code is 1 where they are not.
The BD-rate between the engines' own files tells what their different rounding costs.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

from aecodec.bench import provenance
from aecodec.bench.measurements import pictures_in
from aecodec.codec.codec import Codec
from aecodec.codec.tiles import latent_codes
from aecodec.coding import container
from aecodec.contracts import LatentCode
from aecodec.data.images import read_picture
from aecodec.metrics import Curve, bd_rate, psnr

ENGINES = ("onnx", "torch")


@dataclass
class Agreement:
    """What was found. rates, distortions: of each engine's files, by quality, a number for each picture."""

    files: int = 0
    latents_differ: int = 0
    largest_difference: int = 0
    rates: dict[str, dict[float, list[float]]] = field(default_factory=lambda: {name: {} for name in ENGINES})
    distortions: dict[str, dict[float, list[float]]] = field(default_factory=lambda: {name: {} for name in ENGINES})

    def bd_rate(self) -> float:
        """Per cent more bits of onnx than of torch."""
        curves = [
            Curve(
                *(
                    [float(np.mean(values)) for values in table[name].values()]
                    for table in (self.rates, self.distortions)
                )
            )
            for name in ENGINES
        ]
        return bd_rate(curves[1], curves[0])


def same(a: LatentCode, b: LatentCode) -> bool:
    """Whether two tiles have the same integers."""
    hyper = a.z is b.z if a.z is None or b.z is None else np.array_equal(a.z, b.z)
    return hyper and np.array_equal(a.y, b.y)


def compare(pictures: list[Path], qualities: list[float], model: str | None = None) -> Agreement:
    """Every picture at every quality, written by each engine and read by both, in float32."""
    codecs = {name: Codec.from_pretrained(model, engine=name, precision="float32") for name in ENGINES}
    found = Agreement()
    for path in pictures:
        picture = read_picture(path)
        for quality in qualities:
            for writer in ENGINES:
                encoded = codecs[writer].encode_picture(picture, quality=quality, effort=1)
                parsed = container.parse(encoded.data)
                pairs = zip(*(latent_codes(codecs[name].engine, parsed) for name in ENGINES), strict=True)
                pixels = {name: codecs[name].decode_picture(encoded.data).pixels for name in ENGINES}
                apart = np.abs(pixels["onnx"].astype(np.int16) - pixels["torch"])
                found.files += 1
                found.latents_differ += not all(same(a, b) for a, b in pairs)
                found.largest_difference = max(found.largest_difference, int(apart.max()))
                found.rates[writer].setdefault(quality, []).append(encoded.bpp)
                found.distortions[writer].setdefault(quality, []).append(psnr(picture.pixels, pixels[writer]))
    return found


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", help="Name or path; the default model unless given.")
@click.option("--qualities", default="7,20,33,47,90", show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many pictures.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(pictures: Path, model: str | None, qualities: str, limit: int | None, out: Path | None) -> None:
    found = compare(pictures_in(pictures, limit), [float(part) for part in qualities.split(",")], model)
    rate = found.bd_rate()
    lines = [
        "| files, each read by both engines | latents that differ | largest difference of a pixel | BD-rate of onnx |",
        "|---|---|---|---|",
        f"| {found.files} | {found.latents_differ} | {found.largest_difference} | {rate:+.3f} % |",
    ]
    click.echo("\n".join(lines))
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "agreement.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        content = provenance.collect(files=found.files, bd_rate=rate)
        (out / "agreement.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.exit(found.latents_differ > 0 or found.largest_difference > 1)


if __name__ == "__main__":
    main()
