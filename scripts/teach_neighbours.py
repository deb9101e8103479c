"""Gives small pictures features of their patches, and relations by the graph of neighbours, to train a hasher on.

    python scripts/teach_neighbours.py PICTURES.npz OUT.npz

PICTURES.npz[:KEY]: (N, H, W[, C]) uint8, such as the training part of MNIST. A dictionary of patches is learned from
some of them (aecodec.nn.patches) and left beside OUT.npz in OUT.safetensors. Each picture is joined to those nearest by
its features, and diffusion over that graph tells which pictures are of a kind: neighbours of neighbours come near each
other. OUT.npz: items (N, --axes + --features) float16, features and then the graph's; a hasher with model.patches,
model.patch_weights and model.teacher is trained on them. No picture outside of PICTURES.npz takes part.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from aecodec.contracts import AecodecError
from aecodec.data.arrays import as_float, read_array
from aecodec.data.files import atomic_file
from aecodec.nn.patches import PatchFeatures

#: Pictures that the dictionary's axes are learned from; rows that are computed at once.
LEARNED, BLOCK = 10_000, 500
#: Features by which neighbours are found: the first principal axes.
COMPARED = 128
#: Weight of an edge that only one of its pictures asks for, and of a picture with itself; of others 1.
ONE_SIDED = 0.2
#: Rounds of subspace iteration.
ROUNDS = 30


@torch.no_grad()
def nearest(vectors: torch.Tensor, count: int) -> torch.Tensor:
    """(N, D) -> (N, count) int64: each row's nearest others by cosine, nearest first."""
    unit, rows = F.normalize(vectors, dim=1), []
    for start in range(0, len(unit), BLOCK):
        similarity = unit[start : start + BLOCK] @ unit.T
        itself = torch.arange(len(similarity))
        similarity[itself, start + itself] = -2.0
        rows.append(similarity.topk(count, dim=1).indices)
    return torch.cat(rows)


def transitions(neighbours: torch.Tensor) -> torch.Tensor:
    """(N, K) of `nearest` -> sparse (N, N) float32, symmetric, normalised by both degrees: D^-1/2 W D^-1/2."""
    count = len(neighbours)
    rows = torch.arange(count).repeat_interleave(neighbours.shape[1])
    edges = torch.stack([rows, neighbours.flatten()])
    asked = torch.sparse_coo_tensor(
        torch.cat([edges, edges.flip(0)], 1), torch.ones(2 * edges.shape[1]), (count, count), check_invariants=False
    ).coalesce()
    # An edge that both ask for is there twice.
    weight = torch.where(asked.values() > 1, 1.0, ONE_SIDED)
    itself = torch.arange(count)
    indices = torch.cat([asked.indices(), torch.stack([itself, itself])], 1)
    weight = torch.cat([weight, torch.full((count,), ONE_SIDED)])
    degree = torch.zeros(count).index_add_(0, indices[0], weight)
    scaled = weight / (degree[indices[0]] * degree[indices[1]]).sqrt()
    return torch.sparse_coo_tensor(indices, scaled, (count, count), check_invariants=False).coalesce()


def diffused(graph: torch.Tensor, depth: int, steps: int, rng: torch.Generator) -> torch.Tensor:
    """Of `transitions` -> (N, depth) float32, rows of unit length: eigenvectors times their eigenvalues to the power of
    ``steps`` (Coifman and Lafon 2006, "Diffusion maps"), rows scaled as of Ng, Jordan and Weiss 2001."""
    count = len(graph)
    subspace = torch.randn(count, min(depth + 32, count), generator=rng)
    for _ in range(ROUNDS):
        # Twice between two orthogonalisations, which cost more.
        subspace = torch.linalg.qr(graph @ (graph @ subspace))[0]
    values, turn = torch.linalg.eigh(subspace.T @ (graph @ subspace))
    kept = values.flip(0)[:depth].clamp(min=0.0)
    embedded = (subspace @ turn.flip(1)[:, :depth]) * kept**steps
    return F.normalize(embedded, dim=1)


def as_pictures(pictures: np.ndarray) -> torch.Tensor:
    return as_float(torch.from_numpy(pictures))


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("source")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--words", default=256, show_default=True, type=click.IntRange(min=2), help="Words of the dictionary.")
@click.option("--axes", default=512, show_default=True, type=click.IntRange(min=8), help="Features of each picture.")
@click.option("--mirrored", is_flag=True, help="Features that a picture and its mirror image share.")
@click.option("--neighbours", default=15, show_default=True, type=click.IntRange(min=1))
@click.option("--features", default=64, show_default=True, type=click.IntRange(min=2), help="Of the graph.")
@click.option("--steps", default=8, show_default=True, type=click.IntRange(min=1), help="Of the diffusion.")
@click.option("--seed", default=0, show_default=True)
def main(
    source: str, out: Path, words: int, axes: int, mirrored: bool, neighbours: int, features: int, steps: int, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    try:
        pictures = read_array(source)
        if pictures.ndim != 4 or pictures.dtype != np.uint8 or len(pictures) <= neighbours:
            raise click.ClickException(f"{source}: more than {neighbours} pictures of 8 bits were expected")
        dictionary = PatchFeatures(pictures.shape[1], words, axes, mirrored=mirrored)
        # Drawn at random: the pictures may be sorted by kind.
        some = torch.randperm(len(pictures), generator=rng)[:LEARNED].numpy()
        dictionary.learn(as_pictures(pictures[some]), rng)
        rows = [dictionary(as_pictures(pictures[at : at + BLOCK])) for at in range(0, len(pictures), BLOCK)]
        found = torch.cat(rows)
        graph = transitions(nearest(found[:, :COMPARED], neighbours))
        items = torch.cat([found, diffused(graph, features, steps, rng)], 1)
        save_file(dictionary.state_dict(), out.with_suffix(".safetensors"))
        with atomic_file(out, overwrite=True) as file:
            np.savez(file, items=items.half().numpy())
    except AecodecError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: {len(items)} pictures, {axes} features of each and {features} of the graph")


if __name__ == "__main__":
    main()
