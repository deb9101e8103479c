"""The transforms of the classic learned codecs: strided 5x5 convolutions with divisive normalisation between.

GDN is Balle, Laparra, Simoncelli (2016), "Density Modeling of Images Using a Generalized Normalization
Transformation"; the stack of four is Balle et al. (2018), "Variational Image Compression with a Scale
Hyperprior", fig. 4. The layers are compressai's, imported when a transform is built.
"""

from __future__ import annotations

import itertools
from typing import TypeVar

from torch import nn

Part = TypeVar("Part", bound=nn.Module)


def analysis(channels: int, latents: int) -> nn.Sequential:
    """g_a: x (B, 3, H, W) float32 in [0, 1] -> y (B, latents, H/16, W/16) float32, H and W multiples of 16."""
    from compressai.layers import GDN
    from compressai.models.utils import conv

    widths = [3, channels, channels, channels, latents]
    layers: list[nn.Module] = []
    for cin, cout in itertools.pairwise(widths):
        layers += [conv(cin, cout), GDN(cout)]
    return forget_constants(nn.Sequential(*layers[:-1]))


def synthesis(channels: int, latents: int) -> nn.Sequential:
    """g_s: y_hat (B, latents, H, W) float32 -> x_hat (B, 3, 16H, 16W) float32, not clipped."""
    from compressai.layers import GDN
    from compressai.models.utils import deconv

    widths = [latents, channels, channels, channels, 3]
    layers: list[nn.Module] = []
    for cin, cout in itertools.pairwise(widths):
        layers += [deconv(cin, cout), GDN(cout, inverse=True)]
    return forget_constants(nn.Sequential(*layers[:-1]))


def forget_constants(part: Part) -> Part:
    """Keep a compressai module's bounds, pedestals and coder tables out of its state dict; returns the module.

    They are constants of the architecture, not weights, and storing them in half precision would turn a
    likelihood bound of 1e-9 into 0.
    """
    for module in part.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, buffer, persistent=False)
    return part
