"""The flagship's networks and their adjoints, by hand: gradients in operations that a graph can hold.

Each function gives a value and its pull, which leads the gradient with respect to the value back to the input (reverse
mode, Griewank and Walther 2008, ch. 3). Weights are constants. Synthesis and its pull are two, with the pixels between
them: what their distortion is, and its slope, no graph need know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..entropy.context import HyperFeatures, MeanContext
from ..entropy.scale_net import ScaleNet
from ..latents.context import STEPS
from ..latents.exact import INDEX_FRACTION, LEVELS
from ..nn.blocks import DepthwiseBlock
from ..nn.quantise import round_half_up
from ..nn.transforms import BRANCH_STRIDE, STRIDE, Synthesis

Pull = Callable[[torch.Tensor], torch.Tensor]


def _back(layer: Any, gradient: torch.Tensor) -> torch.Tensor:
    """The adjoint of a convolution of stride 1, 1x1 or depthwise 3x3, whose kernel is turned by half a circle."""
    if layer.groups > 1:
        return F.conv2d(gradient, layer.weight.flip(2, 3), padding=layer.padding, groups=layer.groups)
    return F.conv2d(gradient, layer.weight.transpose(0, 1))


def _passed(rectified: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    # A product: ONNX Runtime takes several times as long to choose between two arrays.
    return torch.sign(rectified) * gradient


def block(layer: DepthwiseBlock, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x (B, C, H, W) -> the same shape, and what its rectifiers gave, (B, C, H, W) and (B, 2C, H, W)."""
    mixed = F.relu(layer.mix_in(x))
    middle = layer.mix_out(layer.depthwise(mixed)) + x
    wide = F.relu(layer.expand(middle))
    return layer.reduce(wide) + middle, mixed, wide


def block_back(layer: DepthwiseBlock, mixed: torch.Tensor, wide: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The pull of `block`, of which only the signs of what the rectifiers gave matter."""
    gradient = gradient + _back(layer.expand, _passed(wide, _back(layer.reduce, gradient)))
    inner = _back(layer.depthwise, _back(layer.mix_out, gradient))
    return gradient + _back(layer.mix_in, _passed(mixed, inner))


def blocks(layers: Iterable[nn.Module], x: torch.Tensor) -> tuple[torch.Tensor, Pull]:
    """Blocks one after another."""
    passed: list[tuple[Any, torch.Tensor, torch.Tensor]] = []
    for layer in layers:
        x, mixed, wide = block(layer, x)  # type: ignore[arg-type]
        passed.append((layer, mixed, wide))

    def back(gradient: torch.Tensor) -> torch.Tensor:
        for layer, mixed, wide in reversed(passed):
            gradient = block_back(layer, mixed, wide, gradient)
        return gradient

    return x, back


def synthesis(net: Synthesis, y: torch.Tensor, gain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """y (1, N, H, W), gain (1, C) -> x_hat (1, 3, 16H, 16W), and which rectifiers let a gradient through, uint8.

    Those are (1, 3C blocks, 2H, 2W), each block's two in turn: what `synthesis_back` needs of a pass is a quarter of
    its bytes or less. See `Synthesis`.
    """
    h, on = F.pixel_shuffle(net.enter(y), 2), []
    for layer in (*net.blocks, net.last):
        if layer is net.last:
            h = h * gain[:, :, None, None]
        h, mixed, wide = block(layer, h)  # type: ignore[arg-type]
        on += [mixed > 0, wide > 0]
    x_hat = F.pixel_shuffle(net.linear(y), STRIDE) + F.pixel_shuffle(net.leave(h), BRANCH_STRIDE)
    return x_hat, torch.cat(on, dim=1).to(torch.uint8)


def synthesis_back(net: Synthesis, on: torch.Tensor, gain: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The pull of `synthesis`: gradient in x_hat (1, 3, 16H, 16W) -> in y (1, N, H, W)."""
    layers: list[Any] = [*net.blocks, net.last]
    signs = on.float().chunk(3 * len(layers), dim=1)
    h = _back(net.leave, F.pixel_unshuffle(gradient, BRANCH_STRIDE))
    for number in reversed(range(len(layers))):
        mixed, *wide = signs[3 * number : 3 * number + 3]
        h = block_back(layers[number], mixed, torch.cat(wide, dim=1), h)
        if layers[number] is net.last:
            h = h * gain[:, :, None, None]
    return _back(net.enter, F.pixel_unshuffle(h, 2)) + _back(net.linear, F.pixel_unshuffle(gradient, STRIDE))


def hyper_features(net: HyperFeatures, z: torch.Tensor) -> tuple[torch.Tensor, Pull]:
    """z (1, Z, h, w) -> features (1, F, 4h, 4w)."""
    inner, pull_inner = blocks([net.block], F.pixel_shuffle(net.up1(z), 2))

    def pull(gradient: torch.Tensor) -> torch.Tensor:
        return _back(net.up1, F.pixel_unshuffle(pull_inner(_back(net.up2, F.pixel_unshuffle(gradient, 2))), 2))

    return F.pixel_shuffle(net.up2(inner), 2), pull


def mean(net: MeanContext, step: int, features: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, Pull]:
    """features (1, F, H, W), known (1, N, H, W), 0 where unknown -> mean of all latents, as a step predicts it.

    The pull leads to features and known as one tensor of F + N channels, of F for the first step.
    """
    adapt, head = net.adapt[step], net.head[step]
    h, pull_shared = blocks(net.shared, adapt(torch.cat([features, known], dim=1) if step else features))  # type: ignore[arg-type]
    return head(h), lambda gradient: _back(adapt, pull_shared(_back(head, gradient)))


def scale_index(net: ScaleNet, z: torch.Tensor, offset: torch.Tensor) -> tuple[torch.Tensor, Pull]:
    """z (1, Z, h, w), offset (1, N) -> scale index (1, N, 4h, 4w), real-valued and unclamped; see `ScaleNet`."""
    pulls: list[Pull] = []
    h = z
    for number, layer in enumerate(net.layers):
        h = layer(h, False)
        pulls.append(_clamped(layer, h))
        if number in net.upsample_after:
            h = F.pixel_shuffle(h, 2)
            pulls.append(lambda gradient: F.pixel_unshuffle(gradient, 2))

    def pull(gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient * 2.0**-INDEX_FRACTION
        for each in reversed(pulls):
            gradient = each(gradient)
        return gradient

    return h * 2.0**-INDEX_FRACTION + offset[:, :, None, None], pull


def _clamped(layer: Any, out: torch.Tensor) -> Pull:
    """The pull of an `ExactConv` that gave ``out``: nothing passes where that was clamped."""

    def pull(gradient: torch.Tensor) -> torch.Tensor:
        inside = ((out > layer.out_min) & (out < layer.out_max)).float()
        return _back(layer, gradient * inside) * 2.0 ** (layer.out_fraction - layer.in_fraction)

    return pull


# -- what the descent of a tile asks for -------------------------------------------------------------


def means_and_gradient(
    net: Any,
    z: torch.Tensor,
    y_hat: torch.Tensor,
    steps: torch.Tensor,
    to_y_hat: torch.Tensor,
    to_residual: torch.Tensor,
    slope: torch.Tensor,
) -> torch.Tensor:
    """One pass over the four steps, back and forth -> (1, 2 N, H, W): the mean of each latent given y_hat, and the
    gradient of a cost in y.

    net: with hyper_features and mean_context. z: (1, Z, H/4, W/4). All others (1, N, H, W): y_hat in units of the
    quantisation step; to_y_hat, to_residual: partial derivatives of the cost; slope: d residual / d y, which is
    -d residual / d mean.
    """
    features = net.hyper_features(z)
    width = features.shape[1]
    means, pulls = torch.zeros_like(y_hat), []
    for step in range(STEPS):
        known = y_hat * (steps < step).float()
        found, pull = mean(net.mean_context, step, features, known)
        means = means + found * (steps == float(step)).float()
        pulls.append(pull)
    for step in range(STEPS - 1, 0, -1):
        to_mean = to_y_hat - (to_y_hat + to_residual) * slope
        earlier = pulls[step](to_mean * (steps == float(step)).float())[:, width:]
        to_y_hat = to_y_hat + earlier * (steps < step).float()
    return torch.cat([means, (to_y_hat + to_residual) * slope], dim=1)


def hyper_gradient(
    net: Any, z: torch.Tensor, y: torch.Tensor, steps: torch.Tensor, offset: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Gradient in z (1, Z, H/4, W/4) of the cost of y, as of `HyperCodec.hyper_cost` without the bits of z.

    net: with hyper_features, mean_context, scale_net and mixture. y: (1, N, H, W) in units of the quantisation step;
    steps: the same shape; offset, weight: (1, N), of the scale indices and of the squared error of silent latents.
    """
    raw, pull_index = scale_index(net.scale_net, z, offset)
    index = raw.clamp(0, LEVELS - 1)
    silent = (index < 0.5).float()
    features, pull_features = hyper_features(net.hyper_features, z)
    width = features.shape[1]
    known, means, pulls = torch.zeros_like(y), torch.zeros_like(y), []
    for step in range(STEPS):
        found, pull = mean(net.mean_context, step, features, known)
        at = (steps == float(step)).float()
        means = means + found * at
        known = known + (found + (1.0 - silent) * round_half_up(y - found)) * at
        pulls.append(pull)
    by_residual, by_index = net.mixture.slopes(y - means, index)
    to_mean = by_residual - silent * (2.0 * weight[:, :, None, None] * (y - means))
    to_known, to_features = torch.zeros_like(y), torch.zeros_like(features)
    for step in reversed(range(STEPS)):
        back = pulls[step]((to_mean + silent * to_known) * (steps == float(step)).float())
        to_features = to_features + back[:, :width]
        if step:
            to_known = to_known + back[:, width:] * (steps < step).float()
    inside = ((raw > 0) & (raw < LEVELS - 1)).float()
    return pull_features(to_features) - pull_index(by_index * inside)
