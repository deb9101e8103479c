"""Features from a dictionary of patches, learned from pictures alone in closed form and a few rounds of k-means.

Coates, Lee and Ng 2011, "An analysis of single-layer networks in unsupervised feature learning": patches are
normalised, whitened and compared with a dictionary of k-means. Here the means are directions, and what is found in each
part of the picture is projected on principal axes whose variances are made more alike.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from ..contracts import CheckpointError

#: Sides of a patch in pixels, and from one to the next.
SIDE, STRIDE = 6, 2
#: A picture is divided into so many parts in both directions.
PARTS = 4
#: Sides that a picture must have.
SMALLEST = SIDE + STRIDE * (PARTS - 1)
#: Deviation of a patch's pixels that is lost in noise; how much of the mean variance is added before whitening.
_FLAT, _RIDGE = 0.04, 0.1
#: What a word's response must exceed to count: on whitened patches it has variance of about 1.
_THRESHOLD = 1.0
#: Pictures and patches that a dictionary is learned from, rounds of k-means, pictures in memory at once.
_PICTURES, _PATCHES, _ROUNDS, _BLOCK = 4000, 60_000, 6, 100


class PatchFeatures(nn.Module):
    """x (B, C, H, W) float32 in [0, 1], sides of at least SMALLEST -> features (B, width) float32, about zero.

    words: of the dictionary; width: principal axes; mirrored: what is found in the picture and in its mirror image is
    added, so that both have the same features. It gives zeros until `learn`, and is not trained.
    """

    def __init__(self, channels: int, words: int, width: int, *, mirrored: bool = False) -> None:
        super().__init__()
        self.width, self.mirrored = width, mirrored
        self.words = _fixed(words, channels, SIDE, SIDE)
        self.offset = _fixed(words)
        self.mean = _fixed(words * PARTS**2)
        self.axes = _fixed(words * PARTS**2, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.found(x) - self.mean) @ self.axes

    def found(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, words * 16): square roots of how much of each word is in each part of the picture."""
        present = self._present(x)
        if self.mirrored:
            present = present + self._present(x.flip(3))
        # The square root of zero has no gradient, and none is asked for.
        return present.sqrt()

    def _present(self, x: torch.Tensor) -> torch.Tensor:
        mean = F.avg_pool2d(x.mean(1, keepdim=True), SIDE, STRIDE)
        square = F.avg_pool2d(x.square().mean(1, keepdim=True), SIDE, STRIDE)
        deviation = (square - mean.square()).clamp(min=0.0).add(_FLAT**2).sqrt()
        response = F.conv2d(x, self.words, stride=STRIDE) / deviation - self.offset[:, None, None]
        present = F.relu(response - _THRESHOLD)
        steps = [int(side) // PARTS for side in present.shape[2:]]
        reach = [int(side) - (PARTS - 1) * step for side, step in zip(present.shape[2:], steps, strict=True)]
        return F.avg_pool2d(present, reach, steps).flatten(1)

    def load(self, path: Path) -> None:
        """Take over what `learn` found from a .safetensors file. Raises CheckpointError for one that is not of this."""
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file of a dictionary of patches")
        try:
            self.load_state_dict(load_file(path))
        except Exception as error:  # whatever a damaged file makes safetensors raise
            raise CheckpointError(f"{path}: not a dictionary of patches for this model ({error})") from error

    @torch.no_grad()
    def learn(self, pictures: torch.Tensor, rng: torch.Generator) -> None:
        """Find dictionary and axes. pictures: (N, C, H, W) float32 in [0, 1], sides of at least SMALLEST."""
        patches = _normalised(_some_patches(pictures, rng))
        mean = patches.mean(0)
        variances, axes = torch.linalg.eigh(torch.cov(patches.T).double())
        whitening = (axes / (variances + _RIDGE * variances.mean()).sqrt() @ axes.T).to(patches.dtype)
        directions = _spherical_means((patches - mean) @ whitening, len(self.words), rng) @ whitening
        self.offset.copy_(directions @ mean)
        # A patch's own mean is taken off by words without one.
        self.words.copy_((directions - directions.mean(1, keepdim=True)).view_as(self.words))
        found = torch.cat([self.found(block) for block in pictures.split(_BLOCK)])
        self.mean.copy_(found.mean(0))
        self.axes.copy_(_principal_axes(found - self.mean, self.width, rng))


def _fixed(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape), requires_grad=False)


def _some_patches(pictures: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """(N, C, H, W) -> (at most _PATCHES, C * SIDE**2), of pictures and places drawn at random."""
    chosen = pictures[torch.randperm(len(pictures), generator=rng, device=pictures.device)[:_PICTURES]]
    each = -(-_PATCHES // len(chosen))
    rows = []
    for block in chosen.split(_BLOCK):
        patches = F.unfold(block, SIDE).transpose(1, 2)
        places = torch.randint(patches.shape[1], (len(block), each), generator=rng, device=block.device)
        rows.append(patches.gather(1, places[..., None].expand(-1, -1, patches.shape[2])).flatten(0, 1))
    return torch.cat(rows)[:_PATCHES]


def _normalised(patches: torch.Tensor) -> torch.Tensor:
    centred = patches - patches.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + _FLAT**2).sqrt()


def _spherical_means(points: torch.Tensor, count: int, rng: torch.Generator) -> torch.Tensor:
    """(N, D) -> (count, D) of unit length: k-means by the angle (Dhillon and Modha 2001), from points drawn at random;
    a mean that no point is nearest to is drawn again."""

    def drawn() -> torch.Tensor:
        return F.normalize(points[torch.randint(len(points), (count,), generator=rng, device=points.device)], dim=1)

    means = drawn()
    for _ in range(_ROUNDS):
        response, nearest = (points @ means.T).max(1)
        sums = torch.zeros_like(means).index_add_(0, nearest, points * response[:, None])
        means = torch.where(sums.any(1, keepdim=True), F.normalize(sums, dim=1), drawn())
    return means


def _principal_axes(centred: torch.Tensor, count: int, rng: torch.Generator) -> torch.Tensor:
    """(N, D) -> (D, count): axes of largest variance, each divided by the fourth root of its variance, by subspace
    iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4). Axes that there are not are zero."""
    depth = centred.shape[1]
    subspace = torch.randn(depth, min(count + 32, depth), generator=rng, device=centred.device)
    for _ in range(3):
        subspace = torch.linalg.qr(centred.T @ (centred @ subspace))[0]
    projected = centred @ subspace
    variances, turn = torch.linalg.eigh(projected.T @ projected / len(centred))
    kept = variances.flip(0)[:count]
    scale = torch.where(kept > 1e-6 * kept[0], kept.clamp(min=1e-30) ** -0.25, 0.0)
    axes = torch.zeros(depth, count, device=centred.device)
    axes[:, : len(kept)] = (subspace @ turn.flip(1)[:, :count]) * scale
    return axes
