"""Rows about generation: likelihood of binarised MNIST, the plane of a two-dimensional code, faces, and 3D shapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from aecodec.data.shapes import PARTS, SIDE, read_shapes
from aecodec.tasks.generate import interpolate, manifold, sample, sheet

from .running import Bench, Record, digits, write_png

#: One stochastic layer of 50 units, K = 1: Burda, Grosse, Salakhutdinov 2016, table 1.
PUBLISHED_NLL = "86.76 nats (Burda et al. 2016, table 1, VAE with one stochastic layer)"


def vae_model(bench: Bench) -> Any:
    """The VAE of binarised MNIST."""
    return bench.train("vae-digits", "vae", bench.small("mnist"), half=True, hold_out=0)


@torch.no_grad()
def likelihood(bench: Bench) -> None:
    """ELBO of 10,000 binarised test digits, and the importance-sampled -log p; independent pixels beside them."""
    train, _, test, _ = digits(bench)
    model = vae_model(bench)
    rng = torch.Generator().manual_seed(0)
    binary = torch.bernoulli(test, generator=rng)
    elbo = torch.cat([model.elbo(batch, rng, 16) for batch in binary.split(500)])
    # The gap between the two bounds varies far less than either, so a part of the test set measures it.
    part = binary[:: len(binary) // 1000][:1000]
    single = elbo[:: len(binary) // 1000][:1000]
    records: list[Record] = []
    pixel = (train.mean(0, keepdim=True) * 0.999 + 0.0005).clamp(1e-4, 1 - 1e-4)
    independent = -(binary * pixel.log() + (1 - binary) * (1 - pixel).log()).flatten(1).sum(1)
    records.append({"model": "independent pixels", "nats": float(independent.mean())})
    records.append(
        {
            "model": "VAE, minus ELBO",
            "digits": len(binary),
            "nats": float(-elbo.mean()),
            "standard_error": float(elbo.std() / math.sqrt(len(elbo))),
        }
    )
    for samples in (50, 500, 5000):
        bound = torch.cat([model.log_likelihood(batch, rng, samples) for batch in part.split(20)])
        gap = bound - single
        records.append(
            {
                "model": "VAE, -log p",
                "samples": samples,
                "digits": len(part),
                "nats": float(-elbo.mean() - gap.mean()),
                "standard_error": float(gap.std() / math.sqrt(len(gap))),
            }
        )
    bench.keep(
        "vae", records, published=PUBLISHED_NLL, estimate="-log p = minus ELBO of all digits less the mean gap of 1,000"
    )
    pictures = sample(model, 60, rng)
    ways = torch.cat([interpolate(model, test[a], test[b], 10) for a, b in ((0, 1), (2, 3), (7, 8), (4, 9))])
    write_png(sheet(torch.cat([pictures, ways]), 10), bench.out / "vae.png", 1)


@torch.no_grad()
def plane(bench: Bench) -> None:
    """A VAE with two latents: its plane as a grid, and how far neighbours on the grid differ."""
    _, _, test, _ = digits(bench)
    model = bench.train("vae-plane", "vae", bench.small("mnist"), size="plane", steps=2500, hold_out=0, half=True)
    rng = torch.Generator().manual_seed(0)
    grid = manifold(model, 20)
    rows = grid.view(20, 20, -1)
    across = rows[1:] - rows[:-1], (rows[:, 1:] - rows[:, :-1]).transpose(0, 1)
    steps = torch.cat(across).square().mean(2)
    order = torch.randperm(400, generator=rng)
    random = (grid.flatten(1)[order] - grid.flatten(1)[order.flip(0)]).square().mean(1)
    elbo = model.elbo(torch.bernoulli(test, generator=rng), rng, 4)
    bench.keep(
        "vae-plane",
        [
            {
                "minus_elbo_nats": float(-elbo.mean()),
                "neighbours_mse": float(steps.mean()),
                "random_pairs_mse": float(random.mean()),
            }
        ],
    )
    write_png(sheet(grid, 20, gap=0), bench.out / "vae-plane.png", 1)


@torch.no_grad()
def faces(bench: Bench) -> None:
    """Frey faces: PSNR of held-out faces through the VAE and through PCA at equal d; the plane; samples; ways."""
    source = f"{bench.small('faces')}:frey"
    common = {"batch": 64, "hold_out": 200, "half": True, "model__likelihood": "gaussian", "model__hidden": [256, 256]}
    model = bench.train("vae-faces", "vae", source, steps=4000, model__latents=32, **common)
    flat = bench.train("vae-faces-plane", "vae", source, steps=2000, model__latents=2, **common)
    pictures = torch.from_numpy(bench.arrays("faces")["frey"])[:, None].float() / 255.0
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(pictures))
    held, train = pictures[np.sort(order[:200])], pictures[np.sort(order[200:])]
    mean = train.flatten(1).mean(0)
    bases = torch.linalg.svd(train.flatten(1) - mean, full_matrices=False)[2]
    records: list[Record] = []
    for net in (flat, model):
        basis = bases[: net.latents]
        rest = held.flatten(1) - mean
        pca = (rest - rest @ basis.T @ basis).square().mean()
        error = (net.reconstruct(held) - held).square().mean()
        records.append(
            {
                "latents": net.latents,
                "psnr": float(-10 * error.log10()),
                "pca_psnr": float(-10 * pca.log10()),
                "minus_elbo_bits_per_pixel": float(
                    net.bits_per_dimension(-net.elbo(held, torch.Generator().manual_seed(0), 16).mean())
                ),
            }
        )
    bench.keep("vae-faces", records)
    rng = torch.Generator().manual_seed(1)
    ways = torch.cat([interpolate(model, held[a], held[b], 12) for a, b in ((0, 100), (50, 150))])
    page = torch.cat([manifold(flat, 12), sample(model, 24, rng), ways])
    write_png(sheet(page, 12, gap=1), bench.out / "vae-faces.png", 1)


@torch.no_grad()
def shapes(bench: Bench) -> None:
    """Held-out part-labelled voxel shapes: overlap of the VAE, of the mean shape and of PCA at equal d; rendered."""
    model = bench.train("shapes", "shape-vae", bench.small("shapes_psb_seg"))
    volumes = read_shapes(bench.small("shapes_psb_seg"))
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(volumes))
    held, train = volumes[np.sort(order[:76])], volumes[np.sort(order[76:])]
    x = torch.from_numpy(held).float() / 255.0
    made = (model.reconstruct(x) * 255).round().byte().numpy()
    full = torch.from_numpy(train > 0).flatten(1).float()
    mean = full.mean(0)
    basis = torch.linalg.svd(full - mean, full_matrices=False)[2][: model.latents]
    rest = torch.from_numpy(held > 0).flatten(1).float() - mean
    flat = (rest @ basis.T @ basis + mean).view(-1, SIDE, SIDE, SIDE)
    on_train = ((full - mean) @ basis.T @ basis + mean).view(-1, SIDE, SIDE, SIDE)
    average = mean.view(1, SIDE, SIDE, SIDE)
    occupied = [_occupancy(model, torch.from_numpy(part).float() / 255.0) for part in (train, held)]
    agree = (made > 0) & (held > 0)
    records: list[Record] = [
        {
            "model": "mean shape",
            "iou": _cut_overlap(
                average.expand(full.shape[0], -1, -1, -1), train, average.expand(len(held), -1, -1, -1), held
            ),
        },
        {"model": f"PCA, {model.latents}", "iou": _cut_overlap(on_train, train, flat, held)},
        {
            "model": f"shape VAE, {model.latents}",
            "iou": _cut_overlap(occupied[0], train, occupied[1], held),
            "iou_of_likeliest": overlap(made > 0, held > 0),
            "part_accuracy_where_both_full": float((made == held)[agree].mean()),
            "minus_elbo_nats": float(-model.elbo(x, torch.Generator().manual_seed(0), 4).mean()),
        },
    ]
    bench.keep("shapes", records, parts=PARTS, voxels=SIDE)
    drawn = (sample(model, 6, torch.Generator().manual_seed(0)) * 255).round().byte().numpy()
    _draw_shapes(bench, [*held[:6], *made[:6], *drawn])


def _occupancy(model: Any, x: torch.Tensor) -> torch.Tensor:
    """Probability that a voxel is full, decoded from the posterior's mean, (N, SIDE, SIDE, SIDE)."""
    parts = [1.0 - torch.softmax(model.logits(model.encode(batch)), 1)[:, 0] for batch in x.split(64)]
    return torch.cat(parts)


def _cut_overlap(on_train: torch.Tensor, train: np.ndarray, on_held: torch.Tensor, held: np.ndarray) -> float:
    """Overlap with the held-out shapes, cut where the overlap with the training shapes is best."""
    cut = max(np.linspace(0.05, 0.6, 23), key=lambda c: overlap(on_train.numpy() > c, train > 0))
    return overlap(on_held.numpy() > cut, held > 0)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union, averaged over items."""
    axes = (1, 2, 3)
    return float(np.mean((a & b).sum(axes) / np.maximum((a | b).sum(axes), 1)))


def _draw_shapes(bench: Bench, volumes: list[np.ndarray]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(9, 5))
    palette = pyplot.get_cmap("tab10")
    for number, volume in enumerate(volumes):
        axes = figure.add_subplot(3, 6, number + 1, projection="3d")
        where = np.nonzero(volume)
        axes.scatter(*where, c=[palette(int(v) % 10) for v in volume[where]], s=4, marker="s", linewidths=0)
        axes.set(xlim=(0, SIDE), ylim=(0, SIDE), zlim=(0, SIDE))
        axes.set_axis_off()
    figure.text(0.01, 0.97, "held-out shapes, their reconstructions, samples", fontsize=9)
    figure.subplots_adjust(0, 0, 1, 0.97, 0, 0)
    figure.savefig(bench.out / "shapes.png", dpi=80)
    pyplot.close(figure)
