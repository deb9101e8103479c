"""Restoration: denoise, inpaint, upscale, colourise and despeckle a picture with one model of several corruptions."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..contracts import Restorer, UnknownName, UsageError

#: Task -> the corruption that it undoes.
TASKS = {
    "denoise": "gaussian",
    "inpaint": "region",
    "upscale": "downsample",
    "colourise": "grey",
    "despeckle": "impulse",
}


def corruption_of(task: str) -> str:
    """Raises UnknownName, listing what exists."""
    try:
        return TASKS[task]
    except KeyError:
        raise UnknownName(f"no task {task!r}; there are: {', '.join(TASKS)}") from None


def restore(
    model: Restorer, x: torch.Tensor, task: str, *, sigma: float | None = None, hole: torch.Tensor | None = None
) -> torch.Tensor:
    """x: (B, C, H, W) float32 in [0, 1], any sides -> restored, in [0, 1]; "upscale" doubles the sides.

    sigma: of the noise in [0, 1] units, estimated if None. hole: (B, 1, H, W), 1 where pixels are missing. A grey
    picture goes into a model of three channels as three equal ones. Raises UnknownName, UsageError.
    """
    corruption = corruption_of(task)
    if not isinstance(model, Restorer):
        raise UsageError("the model restores no pictures; it needs one of the restoration family")
    if sigma is not None and sigma < 0:
        raise UsageError(f"expected noise of at least 0, found {sigma}")
    if model.channels == 3 and x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    level = (estimate_sigma(x) if sigma is None else sigma) if corruption == "gaussian" else 0.0
    return model.restore(x, corruption, sigma=level, hole=hole)


def estimate_sigma(x: torch.Tensor) -> float:
    """The noise's standard deviation from the median of the finest diagonal Haar details (Donoho and Johnstone 1994).

    x: (B, C, H, W), sides of at least 2. Texture of the picture itself makes it an overestimate.
    """
    if min(x.shape[2:]) < 2:
        raise UsageError("noise cannot be estimated from a picture of one row or column; give its sigma")
    height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    parts = F.pixel_unshuffle(x[:, :, :height, :width].float(), 2).unflatten(1, (x.shape[1], 4))
    diagonal = (parts[:, :, 0] - parts[:, :, 1] - parts[:, :, 2] + parts[:, :, 3]) / 2.0
    return float(diagonal.abs().median()) / 0.6745
