"""Fits a codec's synthesis to latents as encoders leave them: refined by their effort, or as its analysis gives them.

    python scripts/tune_synthesis.py MODEL.safetensors PHOTOS --out TUNED.safetensors [--crops 3000] [--steps 1500]

Training shows the synthesis the latents that one pass gives; effort moves them to where a picture is cheaper. Crops of
photographs are encoded at several efforts, once; then the synthesis alone learns to decode them. Latents, tables and so
every bit that is written stay as they were. An hour on one core, most of it for encoding.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from aecodec import checkpoint
from aecodec.codec.codec import Codec
from aecodec.codec.quality import step_of
from aecodec.codec.tiles import latent_codes
from aecodec.coding import container
from aecodec.contracts import QUALITY_KNOT, AecodecError, UsageError
from aecodec.data.folders import list_photos
from aecodec.data.images import Picture
from aecodec.data.photos import PhotoPack
from aecodec.engine.graphs import write_graphs
from aecodec.models.exact_hyperprior import ExactHyperprior
from aecodec.train.loop import newest_share
from aecodec.zoo import stored

#: Shares of the crops that are encoded at an effort.
EFFORTS = {1: 0.4, 2: 0.3, 4: 0.3}
SIDE, BATCH, WARMUP, AVERAGED = 256, 8, 20, 50
DOWNSCALE = 0.5

Example = tuple[np.ndarray, np.ndarray, float]


def examples(codec: Codec, pack: PhotoPack, count: int, seed: int = 0) -> list[Example]:
    """Crops of photographs as they are decoded: pixels (SIDE, SIDE, 3) uint8, y_hat (N, h, w) float32, the position of
    the quality in knots, which is uniform."""
    draws, crops = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    found = []
    for effort in draws.choice(list(EFFORTS), count, p=list(EFFORTS.values())).tolist():
        crop = pack.crops(1, SIDE, crops, DOWNSCALE)[0].permute(1, 2, 0)
        pixels = (crop * 255.0 + 0.5).to(torch.uint8).numpy().copy()
        quality = int(draws.integers(0, 101))
        parsed = container.parse(codec.encode_picture(Picture(pixels), quality=quality, effort=effort).data)
        (code,) = latent_codes(codec.engine, parsed)
        found.append((pixels, codec.engine.dequantise(code), step_of(quality) / QUALITY_KNOT))
    return found


def tune(model: ExactHyperprior, shown: list[Example], steps: int, rate: float, seed: int = 0) -> None:
    """Adam on the distortion of the crops, weighed as in training, its rate falling to zero; the synthesis becomes the
    mean of its last weights, which later ones count more in."""
    params = list(model.synthesis.parameters())
    for param in params:
        param.requires_grad_(True)
    means = [param.detach().clone() for param in params]
    adam, draws = torch.optim.Adam(params, rate, (0.9, 0.99)), np.random.default_rng(seed)
    order: list[int] = []
    for step in range(steps):
        if len(order) < BATCH:
            order = draws.permutation(len(shown)).tolist()
        batch = [shown[order.pop()] for _ in range(min(BATCH, len(order)))]
        adam.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / WARMUP) * (1.0 - step / steps)
        adam.zero_grad()
        _loss(model, batch).backward()
        adam.step()
        with torch.no_grad():
            for mean, param in zip(means, params, strict=True):
                mean.lerp_(param, newest_share(1.0 - 1.0 / AVERAGED, step))
    with torch.no_grad():
        for mean, param in zip(means, params, strict=True):
            param.copy_(mean)


def _loss(model: ExactHyperprior, batch: list[Example]) -> torch.Tensor:
    pixels, latents, knots = (np.stack(part) for part in zip(*batch, strict=True))
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255.0
    position = torch.from_numpy(knots.astype(np.float32))
    y_hat = torch.from_numpy(latents).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        x_hat = model.synthesis(y_hat, model.gain(model.branch_out, position)).float() + 0.5
    mse = (x_hat - x).square().mean(dim=(1, 2, 3))
    distortion = model.mixed(mse, x, x_hat) if model.config.visual else mse
    return model.balanced(distortion, torch.zeros_like(mse), position)


def save(kept: stored.Stored, model: ExactHyperprior, card: dict[str, Any], out: Path) -> bytes:
    """A checkpoint with the model's synthesis in place of its own, all weights told whole -> its fingerprint."""
    tuned = {
        name: value.detach().numpy().astype(kept.tensors[name].dtype)
        for name, value in model.state_dict().items()
        if name.startswith("synthesis.")
    }
    changed = replace(kept, tensors={**kept.tensors, **tuned}, graphs={}, base=b"", card={**kept.card, **card})
    print_ = stored.write(changed, out)
    write_graphs(out)
    return print_


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("photos", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Where to.")
@click.option("--crops", default=3000, show_default=True, type=click.IntRange(min=1), help="Crops that are encoded.")
@click.option("--steps", default=1500, show_default=True, type=click.IntRange(min=1), help=f"Of {BATCH} crops.")
@click.option("--rate", default=2e-4, show_default=True, help="Adam's step at the beginning.")
def main(model: Path, photos: Path, out: Path, crops: int, steps: int, rate: float) -> None:
    torch.set_num_threads(1)
    try:
        kept, module = stored.read(model), checkpoint.load(model).module
        if not isinstance(module, ExactHyperprior):
            raise UsageError(f"{model}: a model of family {kept.family} has no synthesis that is tuned")
        pack = PhotoPack.from_paths(list_photos(photos), torch.device("cpu"), SIDE)
        shown = examples(Codec.from_pretrained(model), pack, crops)
        tune(module, shown, steps, rate)
        card = {"tuned": {"crops": crops, "steps": steps, "pictures": len(pack), "efforts": list(EFFORTS)}}
        print_ = save(kept, module, card, out)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: fingerprint {print_.hex()}")


if __name__ == "__main__":
    main()
