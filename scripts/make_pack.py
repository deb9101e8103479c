"""Write a folder of pictures as one pack, or as pieces to be sent one by one, for a machine that has none."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from aecodec.contracts import AecodecError
from aecodec.data.photos import open_photos
from aecodec.data.pieces import write_pieces


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--hold-out", default=20, show_default=True, help="Pictures kept aside for evaluation.")
@click.option("--smallest", default=256, show_default=True, help="Leave out pictures with a smaller side.")
@click.option("--piece-mib", type=click.FloatRange(0, min_open=True), help="Write pieces of at most so many MiB.")
def main(folder: Path, target: Path, hold_out: int, smallest: int, piece_mib: float | None) -> None:
    """FOLDER -> TARGET: a pack of decoded pictures (.npz), or with --piece-mib a folder of pieces (.zip)."""
    try:
        if piece_mib is not None:
            limit = int(piece_mib * 2**20)
            for piece in write_pieces(folder, target, limit, hold_out=hold_out, smallest=smallest):
                click.echo(f"{piece}: {piece.stat().st_size / 2**20:.1f} MiB")
            return
        photos, held = open_photos(folder, torch.device("cpu"), hold_out, smallest)
        photos.save(target, held)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    aside = len(held) if held is not None else 0
    click.echo(f"{target}: {len(photos)} pictures, {aside} kept aside, {target.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
