"""``aecodec sample``: what a generative model makes, as one picture."""

from __future__ import annotations

from pathlib import Path

import click

from ..contracts import UsageError
from .numbers import SEED_LIMIT, Whole
from .output import say
from .writing import check_outputs


@click.command()
@click.argument("model", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="PNG file of the grid.")
@click.option("-n", "--count", type=Whole(1, 10_000), default=64, show_default=True, help="Pictures.")
@click.option("--kind", type=click.Choice(["samples", "manifold", "ways"]), default="samples", show_default=True)
@click.option("--data", metavar="SOURCE", help="Items between which ways lead: FILE.npz[:KEY] or a folder.")
@click.option("--seed", type=Whole(0, SEED_LIMIT), default=0, show_default=True)
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
def sample(model: str | None, output: Path, count: int, kind: str, data: str | None, seed: int, force: bool) -> None:
    """Draw from MODEL (a VAE; the embedded one of faces by default).

    samples: decoded draws of the prior. manifold: the plane of a model with two latents. ways: straight lines between
    the codes of items of --data, eight steps each.
    """
    import torch

    from ..contracts import Variational
    from ..data.images import Picture, write_picture
    from ..tasks import generate
    from ..tasks.loading import load_for, read_items
    from ..tasks.restore import to_pixels
    from ..zoo.registry import DEFAULT_GENERATOR

    check_outputs([(output, "the pictures")], overwrite=force, inputs=[model, data])
    _, vae = load_for("sampling", Variational, model or DEFAULT_GENERATOR)
    if len(vae.shape) != 3 or vae.shape[0] not in (1, 3):
        raise UsageError(f"the model makes items of shape {tuple(vae.shape)}, which are no pictures")
    rng = torch.Generator().manual_seed(seed)
    columns = max(1, round(count**0.5))
    if kind == "samples":
        items = generate.sample(vae, count, rng)
    elif kind == "manifold":
        items = generate.manifold(vae, columns)
    else:
        if data is None:
            raise UsageError("--kind ways needs --data")
        known = read_items(vae, data)
        columns = 8
        pairs = torch.randint(len(known), (max(1, count // columns), 2), generator=rng)
        items = torch.cat([generate.interpolate(vae, known[a], known[b], columns) for a, b in pairs.tolist()])
    write_picture(Picture(to_pixels(generate.sheet(items, columns)[None])), output, overwrite=force)
    say(f"{output}: {len(items)} pictures")
