"""How near files come to a target of size or PSNR, and in how many encodes of their latents.

python benchmarks/targets.py PICTURES [--limit N] [--out FOLDER]
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from aecodec.bench import provenance
from aecodec.bench.measurements import pictures_in, read_rgb
from aecodec.codec.codec import Codec
from aecodec.contracts import TargetUnreachableError
from aecodec.data.images import Picture
from aecodec.metrics.psnr import psnr

RATES = (0.1, 0.25, 0.6)
LEVELS = (28.0, 31.0, 34.0)


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pictures", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many pictures.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder to keep the figures in.")
def main(pictures: Path, limit: int | None, out: Path | None) -> None:
    codec = Codec.from_pretrained()
    found = [np.asarray(read_rgb(path)) for path in pictures_in(pictures, limit)]
    lines = [
        "| target | files | on its wrong side | off it: median, worst | encodes: mean, most | out of reach |",
        "|---|---|---|---|---|---|",
    ]
    for kind, targets in (("bpp", RATES), ("dB", LEVELS)):
        for target in targets:
            off, encodes, unreachable = [], [], 0
            for pixels in found:
                asked = {"target_bpp": target} if kind == "bpp" else {"target_psnr": target}
                try:
                    encoded = codec.encode_picture(Picture(pixels), **asked, effort=1)
                except TargetUnreachableError:
                    unreachable += 1
                    continue
                if encoded.quality == 1000:
                    # The best that the model can do stays below the target.
                    unreachable += 1
                    continue
                encodes.append(encoded.encodes)
                if kind == "bpp":
                    off.append(100 * (1 - encoded.bpp / target))
                else:
                    off.append(psnr(pixels, codec.decode_picture(encoded.data).pixels) - target)
            if not off:
                continue
            unit = "%" if kind == "bpp" else "dB"
            lines.append(
                f"| {target:g} {kind} | {len(off)} | {sum(value < 0 for value in off)} "
                f"| {np.median(off):.3f} {unit}, {max(off):.3f} {unit} "
                f"| {np.mean(encodes):.2f}, {max(encodes)} | {unreachable} |"
            )
            click.echo(lines[-1])
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "targets.md").write_text("\n".join(lines) + "\n")
        (out / "targets.json").write_text(json.dumps(provenance.collect(pictures=len(found)), indent=1) + "\n")


if __name__ == "__main__":
    main()
