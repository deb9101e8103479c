"""Write a folder of pictures as one pack, to train on a machine that has none."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from aecodec.data.photos import open_photos


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("pack", type=click.Path(path_type=Path))
@click.option("--hold-out", default=20, show_default=True, help="Pictures kept aside for evaluation.")
@click.option("--smallest", default=256, show_default=True, help="Leave out pictures with a smaller side.")
def main(folder: Path, pack: Path, hold_out: int, smallest: int) -> None:
    """FOLDER -> PACK (.npz)."""
    photos, held = open_photos(folder, torch.device("cpu"), hold_out, smallest)
    photos.save(pack, held)
    aside = len(held) if held is not None else 0
    click.echo(f"{pack}: {len(photos)} pictures, {aside} kept aside, {pack.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
