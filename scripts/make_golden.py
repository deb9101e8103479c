"""Write the golden files of the current format version: a small checkpoint and .aec files of every family.

Run it once per format version. Folders of versions that were released are never written again: the script
refuses to touch one that exists.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import torch

from aecodec import checkpoint
from aecodec.codec import Codec
from aecodec.coding import container
from aecodec.data.images import Picture
from aecodec.models import FAMILIES

SMALL: dict[str, dict[str, int]] = {
    "exact-hyperprior": {
        "channels": 16, "latents": 24, "hyper_latents": 8, "analysis_blocks": 1, "synthesis_blocks": 1,
        "features": 12, "scale_hidden": 8,
    },
    "factorized-prior": {"n": 8, "m": 12},
    "mean-scale-hyperprior": {"n": 8, "m": 12},
}  # fmt: skip
QUALITIES = (0, 37.5, 100)


def golden_picture(height: int = 70, width: int = 150) -> np.ndarray:
    """A picture of integers alone, (height, width, 3) uint8, the same on every machine."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = (rows * columns // 31) % 64 + (columns * 2) % 128 + np.where(columns > 2 * rows, 60, 0)
    return np.stack([waves, 255 - waves, (rows * 3 + waves) % 256], axis=2).astype(np.uint8)


def make_model(family: str) -> torch.nn.Module:
    """A small model of a family with seeded weights that use the whole range of their tables."""
    torch.manual_seed(20)
    model = checkpoint.build(family, SMALL[family]).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "analysis" in name or "g_a" in name or "scale_net.offset" in name:
                parameter.mul_(3.0)
            if family == "mean-scale-hyperprior" and name.startswith("g_a.6"):
                parameter.mul_(40.0)
    return model


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Write into FOLDER, e.g. tests/golden/v1."""
    if folder.exists():
        raise click.ClickException(f"{folder} exists; golden files are never rewritten")
    folder.mkdir(parents=True)
    record = {}
    for family in sorted(FAMILIES):
        path = folder / f"{family}.safetensors"
        checkpoint.save(make_model(family), path, name="golden", family_name=family, card={})
        codec = Codec(checkpoint.load(path))
        for quality in QUALITIES if codec.variable_rate else (50,):
            encoded = codec.encode_picture(Picture(golden_picture()), quality=quality)
            name = f"{family}-q{quality:g}"
            (folder / f"{name}.aec").write_bytes(encoded.data)
            parsed = container.parse(encoded.data)
            height, width = codec._latent_sides(parsed.header.height, parsed.header.width)
            code = codec._model.decode_tile(parsed.tiles[0], parsed.header.quality, height, width)
            arrays = {"y": code.y} if code.z is None else {"y": code.y, "z": code.z}
            np.savez_compressed(folder / f"{name}.npz", **arrays)
            record[name] = {"family": family, "bytes": len(encoded.data), "nonzero": int(np.count_nonzero(code.y))}
    (folder / "record.json").write_text(json.dumps(record, indent=2) + "\n")
    click.echo(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
