"""The restoration family: one denoising autoencoder for a table of corruptions (Vincent et al. 2008).

The model sees a corrupted picture x_tilde and planes that say what is known of the damage, and minimises the error of
x_hat = x_tilde + g(f(x_tilde)), the change bounded by what the corruption can have done: noise, missing regions
(context autoencoder, Pathak et al. 2016), missing resolution and missing colour differ by the corruption alone. With
noise of sigma = 0 it is the identity by construction, and known pixels beside a hole are returned untouched.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..contracts import Loss, UnknownName, UsageError
from ..nn.corruptions import (
    CONDITIONS,
    CORRUPTIONS,
    Corrupted,
    Drawn,
    double,
    enlarged,
    greyed,
    noisy,
    with_hole,
    with_impulses,
)
from ..nn.luma import luma
from ..nn.unet import UNet

#: A corruption that the data brings along: items hold the corrupted channels, then the clean ones.
PAIRED = "paired"
#: What the network adds to weak noise by its own error, standard deviation in [0, 1] units: the embedded restorer's
#: median over held-out photographs, alike at sigma 1, 2 and 3. With more, only its large changes, the wrong ones,
#: outlive the rounding to 8 bits.
_OWN_ERROR = 1.4 / 255.0
#: Weight of an error where a paired input is silent; 1 is loud.
_SILENCE = 0.1
#: Keeps the root of a squared error differentiable at 0 (60 dB).
_FLOOR = 1e-6


@dataclass(frozen=True)
class RestorationConfig:
    """planes: channels of a picture; corruptions: what items of a batch are damaged by, drawn evenly (one given twice
    is drawn twice as often); widths: channels per level of the U-Net, from stride 2 down; blocks: residual blocks per
    level and side; skips: False gives the plain convolutional autoencoder."""

    planes: int = 3
    corruptions: tuple[str, ...] = (*("gaussian",) * 5, "impulse", "region", "scribble", "downsample", "grey")
    widths: tuple[int, ...] = (64, 96, 96)
    blocks: int = 2
    skips: bool = True


SIZES = {
    "tiny": RestorationConfig(widths=(8, 16), blocks=1),
    "base": RestorationConfig(),
    "denoiser": RestorationConfig(corruptions=("gaussian",)),
    "speech": RestorationConfig(planes=1, corruptions=(PAIRED,), widths=(32, 64, 96), blocks=1),
}
#: Settings of a run that reach the figures in the benchmark's table.
RECIPE = {
    "size": "base",
    "steps": 30000,
    "batch": 32,
    "crop": 64,
    "late_crop": 128,
    "late_from": 0.5,
    "learning_rate": 1.5e-3,
    "schedule": "cosine",
    "warmup": 200,
    "ema": 0.999,
    "half": True,
    "evaluate_every": 100000,
    "calibration": 0,
}


class Restoration(nn.Module):
    """See the module's docstring. Raises UnknownName for an unknown corruption, UsageError for an unfit one."""

    def __init__(self, config: RestorationConfig) -> None:
        super().__init__()
        for name in config.corruptions:
            if name != PAIRED and name not in CORRUPTIONS:
                raise UnknownName(f"no corruption {name!r}; there are: {', '.join(CORRUPTIONS)}, {PAIRED}")
            if name != PAIRED and CORRUPTIONS[name].colour and config.planes != 3:
                raise UsageError(f"corruption {name} needs pictures of 3 channels, the model has {config.planes}")
        if not config.corruptions or (PAIRED in config.corruptions and len(set(config.corruptions)) > 1):
            raise UsageError(f"expected some corruptions, or {PAIRED} alone, found {config.corruptions}")
        self.config = config
        self.channels = config.planes
        self.corruptions = tuple(dict.fromkeys(config.corruptions))
        self.net = UNet(config.planes + len(CONDITIONS), config.planes, config.widths, config.blocks, config.skips)
        # Convolutions on CPUs and tensor cores are several times as fast in this order.
        self.net.to(memory_format=torch.channels_last)
        self.alignment = self.net.alignment
        self.reach = self.net.reach

    def forward(self, corrupted: Corrupted) -> torch.Tensor:
        """Sides a multiple of ``alignment`` -> x_hat (B, C, H, W) float32, not clipped; seen plus a bounded change."""
        seen, condition = corrupted.seen, corrupted.condition
        change = self.net(torch.cat([seen - 0.5, condition], dim=1)).float()
        if self.channels == 3:
            # A grey picture knows its luma: only what is orthogonal to it is free.
            grey = condition[:, CONDITIONS.index("grey")][:, None]
            change = change - grey * luma(change)
        change = torch.minimum(torch.maximum(change, -corrupted.freedom), corrupted.freedom)
        return seen + change

    # -- training ----------------------------------------------------------------------------------------------------

    def corrupt(self, batch: torch.Tensor, rng: torch.Generator) -> Drawn:
        """A clean batch -> damaged items in an order of their own.

        batch: (B, C, H, W) float32 in [0, 1], or with "paired" (B, 2 C, H, W), the corrupted channels first.
        """
        if self.corruptions == (PAIRED,):
            if batch.shape[1] != 2 * self.channels:
                raise UsageError(f"expected {2 * self.channels} channels (corrupted, clean), found {batch.shape[1]}")
            seen, clean = batch[:, : self.channels], batch[:, self.channels :]
            return Drawn(_paired(seen), clean)
        if batch.shape[1] != self.channels:
            raise UsageError(f"the model is for pictures of {self.channels} channels, found {batch.shape[1]}")
        names = self.config.corruptions
        which = torch.randint(len(names), (len(batch),), generator=rng, device=batch.device)
        parts = []
        for number, name in enumerate(names):
            chosen = batch[which == number]
            if len(chosen):
                parts.append(CORRUPTIONS[name].draw(chosen, rng))
        planes = [
            torch.cat([getattr(part.corrupted, key) for part in parts])
            for key in ("seen", "condition", "freedom", "weight")
        ]
        return Drawn(Corrupted(*planes), torch.cat([part.target for part in parts]))

    def loss(self, batch: torch.Tensor, rng: torch.Generator, progress: float = 0.0) -> Loss:
        """The root mean squared error of each item over its damaged pixels, averaged over the batch.

        The root keeps a missing region, which costs a hundred times the squared error of weak noise, from drowning the
        rest. batch: as of `corrupt`, sides multiples of ``alignment``.
        """
        with torch.autocast(batch.device.type, enabled=False):
            drawn = self.corrupt(batch, rng)
        error = (self(drawn.corrupted) - drawn.target).square()
        weight = drawn.corrupted.weight
        per_item = (error * weight).sum((1, 2, 3)) / (error.shape[1] * weight.sum((1, 2, 3))).clamp_min(1.0)
        return Loss((per_item + _FLOOR).sqrt().mean(), {"mse": per_item.mean().detach()})

    # -- use ---------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def restore(
        self, x: torch.Tensor, corruption: str, *, sigma: float = 0.0, hole: torch.Tensor | None = None
    ) -> torch.Tensor:
        """x: (B, C, H, W) float32 in [0, 1], any sides -> restored, clipped to [0, 1]; "downsample" doubles the sides.

        sigma: of Gaussian noise, in [0, 1] units; the weaker it is, the less of the network's change is made. hole:
        (B, 1, H, W) bool or number, 1 where "region" and "scribble" lack pixels.
        Raises UnknownName for a corruption that the model was not trained on, UsageError for wrong channels or a hole
        that is missing or of another size.
        """
        self._check(x, corruption, hole)
        if corruption == "downsample":
            x = double(x)
        height, width = x.shape[2:]
        pad = (0, -width % self.alignment, 0, -height % self.alignment)
        x = F.pad(x, pad, mode="replicate")
        if corruption == "gaussian":
            corrupted = noisy(x, sigma)
        elif hole is not None:
            corrupted = with_hole(x, F.pad(hole.to(x), pad, mode="replicate"))
        elif corruption == PAIRED:
            corrupted = _paired(x)
        else:
            corrupted = {"impulse": with_impulses, "downsample": enlarged, "grey": greyed}[corruption](x)
        restored = self(corrupted)
        if corruption == "gaussian" and sigma > 0.0:
            # Two estimates, what is seen and what the network makes of it, weighed by the inverse of their variances.
            restored = torch.lerp(x, restored, sigma**2 / (sigma**2 + _OWN_ERROR**2))
        restored = restored[:, :, :height, :width]
        return restored if corruption == PAIRED else restored.clamp(0.0, 1.0)

    def _check(self, x: torch.Tensor, corruption: str, hole: torch.Tensor | None) -> None:
        if corruption not in self.corruptions:
            raise UnknownName(f"the model undoes no {corruption!r}; it undoes: {', '.join(self.corruptions)}")
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise UsageError(f"the model is for pictures of {self.channels} channels, found shape {tuple(x.shape)}")
        if corruption in ("region", "scribble"):
            if hole is None or hole.shape != (len(x), 1, *x.shape[2:]):
                found = "none" if hole is None else str(tuple(hole.shape))
                raise UsageError(
                    f"expected a mask of {(len(x), 1, *x.shape[2:])} for the missing pixels, found {found}"
                )
        elif hole is not None:
            raise UsageError(f"a mask of missing pixels has no meaning for {corruption!r}")


def _paired(seen: torch.Tensor) -> Corrupted:
    """Nothing is known of the damage; errors count by the level of what is seen, for what is loud is heard."""
    one = torch.ones_like(seen[:, :1])
    level = seen.mean(1, keepdim=True).clamp_min(_SILENCE)
    return Corrupted(seen, torch.zeros_like(one).expand(-1, len(CONDITIONS), -1, -1), one, level)
