"""The family `semantic-hash`: a binary autoencoder whose codes bring pictures of one kind near each other.

A convolutional encoder gives one logit for each bit; noise before the sigmoid, a threshold with a straight-through
gradient and balanced bits make the code binary (Salakhutdinov and Hinton 2009, "Semantic hashing"; Li and van Gemert
2021). A decoder reconstructs the picture from it, and two augmented views of a picture are contrasted with the rest of
the batch (Qiu et al. 2021, "Unsupervised hashing with contrastive information bottleneck"). Every term has a weight in
the configuration; labels take no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..contracts import Loss
from ..nn.binary import above_zero, bi_half, straight_through
from ..nn.views import RECIPES, random_view


@dataclass(frozen=True)
class SemanticHashConfig:
    """What a hasher is and how it is trained.

    channels, height, width: of the pictures that it takes. n_bits: length of the code; prefixes: shorter codes that
    are trained beside it, each the beginning of the whole one. widths: channels of the encoder's stages, each of which
    halves the sides; blocks: residual blocks of a stage; decoder: channels of the decoder.
    views: a recipe of nn.views. noise: standard deviation of what is added to the logits; bi_half: balance each bit
    over the batch; temperature: of the contrast; neighbours: how many of the nearest pictures of the batch count as
    views of the same, from the share neighbours_from of the training on.
    contrast, reconstruction, kl, decorrelation: weights of the terms.
    """

    channels: int = 3
    height: int = 64
    width: int = 64
    n_bits: int = 64
    prefixes: tuple[int, ...] = ()
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: int = 1
    features: int = 256
    decoder: int = 32
    views: str = "objects"
    noise: float = 0.3
    bi_half: bool = True
    temperature: float = 0.3
    neighbours: int = 0
    neighbours_from: float = 0.2
    contrast: float = 1.0
    feature_contrast: float = 0.0
    feature_temperature: float = 0.2
    reconstruction: float = 0.1
    kl: float = 0.0
    decorrelation: float = 0.0


SIZES = {"tiny": SemanticHashConfig()}


class Block(nn.Module):
    """x + (3x3, norm, ReLU, 3x3, norm), then ReLU (He et al. 2016). (B, C, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.first_norm(self.first(x)))
        return F.relu(x + self.second_norm(self.second(h)))


def make_encoder(config: SemanticHashConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    entering = config.channels
    for width in config.widths:
        layers += [
            nn.Conv2d(entering, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *[Block(width) for _ in range(config.blocks)],
        ]
        entering = width
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers)


class SemanticHash(nn.Module):
    def __init__(self, config: SemanticHashConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config)
        pooled = 4 * config.widths[-1]
        self.head = nn.Sequential(
            nn.Linear(pooled, config.features, bias=False), nn.BatchNorm1d(config.features), nn.ReLU()
        )
        self.to_bits = nn.Linear(config.features, config.n_bits, bias=False)
        self.norm = nn.BatchNorm1d(config.n_bits, affine=False)
        self.small = -(-config.height // 4), -(-config.width // 4)
        d = config.decoder
        self.decode_in = nn.Linear(config.n_bits, d * self.small[0] * self.small[1])
        self.decode_out = nn.Sequential(
            nn.ReLU(), nn.Conv2d(d, 4 * d, 3, padding=1), nn.PixelShuffle(2), nn.ReLU(),
            nn.Conv2d(d, 4 * config.channels, 3, padding=1), nn.PixelShuffle(2),
        )
        if config.feature_contrast:
            self.project = nn.Sequential(nn.Linear(config.features, 128))

    def logits(self, x):
        return self.norm(self.to_bits(self.head(self.encoder(x - 0.5))).float())

    def loss(self, batch, rng, progress=0.0):
        c = self.config
        size = c.height, c.width
        views = torch.cat([random_view(batch, size, RECIPES[c.views], rng) for _ in range(2)])
        views = views.contiguous(memory_format=torch.channels_last)
        h = self.head(self.encoder(views - 0.5))
        logits = self.norm(self.to_bits(h).float())
        n = len(batch)
        with torch.autocast(batch.device.type, enabled=False):
            u = logits.float()
            noisy = u + c.noise * torch.randn(u.shape, generator=rng, device=u.device)
            p = torch.sigmoid(2 * noisy)
            bits = torch.cat([bi_half(v) for v in noisy.detach().split(n)]) if c.bi_half else above_zero(noisy.detach())
            codes = 2 * straight_through(bits, p) - 1
            parts = {}
            positives = None
            if c.neighbours and progress >= c.neighbours_from:
                positives = neighbours(u.detach(), c.neighbours)
            total = 0
            lens = (*c.prefixes, c.n_bits)
            for k in lens:
                l = ntxent(codes[:, :k] @ codes[:, :k].T / (k * c.temperature), positives)
                total = total + c.contrast * l / len(lens)
                parts[f"contrast_{k}"] = l.detach()
            if c.feature_contrast:
                z = F.normalize(self.project(h.float()), dim=1)
                l = ntxent(z @ z.T / c.feature_temperature, positives)
                total = total + c.feature_contrast * l
                parts["fc"] = l.detach()
            if c.kl:
                q = p.clamp(1e-4, 1 - 1e-4)
                kl = (q * (2 * q).log() + (1 - q) * (2 - 2 * q).log()).mean()
                total = total + c.kl * kl
            if c.decorrelation:
                m = codes.T @ codes / len(codes)
                off = (m - torch.diag(torch.diag(m))).square().sum() / (c.n_bits * (c.n_bits - 1))
                total = total + c.decorrelation * off
                parts["corr"] = off.detach()
        if c.reconstruction:
            x_hat = self.decode_out(self.decode_in(codes[:n]).view(n, -1, *self.small)).float()
            x = F.interpolate(batch, size=size, mode="area") if batch.shape[2:] != size else batch
            mse = (x_hat[:, :, : size[0], : size[1]] - x).square().mean()
            total = total + c.reconstruction * mse * 10
            parts["mse"] = mse.detach()
        return Loss(total, parts)


@torch.no_grad()
def neighbours(u, k):
    n = len(u) // 2
    z = torch.tanh(u)
    z = F.normalize(z[:n] + z[n:], dim=1)
    sim = z @ z.T
    sim.fill_diagonal_(-2)
    top = sim.topk(k, 1).indices
    mask = torch.zeros(n, n, device=u.device)
    mask.scatter_(1, top, 1.0)
    mask = mask * mask.T  # mutual
    mask.fill_diagonal_(1.0)
    return mask


def ntxent(sim, positives):
    n = len(sim) // 2
    sim = sim.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=sim.device), -1e4)
    logp = sim - sim.logsumexp(1, keepdim=True)
    if positives is None:
        i = torch.arange(2 * n, device=sim.device)
        return -logp[i, (i + n) % (2 * n)].mean()
    m = positives.repeat(2, 2)
    m.fill_diagonal_(0)
    return -((m * logp).sum(1) / m.sum(1)).mean()
