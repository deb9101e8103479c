"""Encoders and decoders of one vector per item: multilayer perceptrons and small strided convolutions."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn

#: Activations by name; tanh is what the autoencoders before 2012 used.
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


def activation(name: str) -> nn.Module:
    """Raises ValueError for a name that is not in ACTIVATIONS."""
    if name not in ACTIVATIONS:
        raise ValueError(f"expected an activation of {', '.join(ACTIVATIONS)}, found {name!r}")
    return ACTIVATIONS[name]()


def mlp(sizes: tuple[int, ...], act: str) -> nn.Sequential:
    """Linear layers of the given sizes with an activation between them; none after the last."""
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        if number:
            layers.append(activation(act))
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)


class MlpEncoder(nn.Module):
    """x: (B, *shape) float32 -> (B, outputs) float32."""

    def __init__(self, shape: tuple[int, ...], hidden: tuple[int, ...], outputs: int, act: str) -> None:
        super().__init__()
        self.layers = mlp((math.prod(shape), *hidden, outputs), act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x.flatten(1))


class MlpDecoder(nn.Module):
    """z: (B, latents) float32 -> (B, *shape) float32, the hidden sizes of the encoder in reverse."""

    def __init__(self, shape: tuple[int, ...], hidden: tuple[int, ...], latents: int, act: str) -> None:
        super().__init__()
        self.shape = shape
        self.layers = mlp((latents, *reversed(hidden), math.prod(shape)), act)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.layers(z).unflatten(1, self.shape)


def _halvings(shape: tuple[int, ...], levels: int) -> list[tuple[int, int]]:
    """Sides of a picture after 0, 1, ... levels of stride 2."""
    sides = [(shape[1], shape[2])]
    for _ in range(levels):
        height, width = sides[-1]
        sides.append(((height + 1) // 2, (width + 1) // 2))
    return sides


def _check_picture(shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise ValueError(f"convolutions need items of shape (C, H, W), found {shape}")


class ConvEncoder(nn.Module):
    """x: (B, C, H, W) float32 -> (B, outputs): 3x3 convolutions of stride 2 (widths doubling), then a linear layer."""

    def __init__(self, shape: tuple[int, ...], width: int, levels: int, outputs: int, act: str) -> None:
        super().__init__()
        _check_picture(shape)
        layers: list[nn.Module] = []
        channels = shape[0]
        for level in range(levels):
            layers += [nn.Conv2d(channels, width * 2**level, 3, 2, 1), activation(act)]
            channels = width * 2**level
        height, side = _halvings(shape, levels)[-1]
        self.layers = nn.Sequential(*layers)
        self.leave = nn.Linear(channels * height * side, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.leave(self.layers(x).flatten(1))


class ConvDecoder(nn.Module):
    """z: (B, latents) float32 -> (B, C, H, W): a linear layer, then per level nearest enlargement and a 3x3 layer."""

    def __init__(self, shape: tuple[int, ...], width: int, levels: int, latents: int, act: str) -> None:
        super().__init__()
        _check_picture(shape)
        self.sides = _halvings(shape, levels)
        self.first = (width * 2 ** (levels - 1), *self.sides[-1])
        self.enter = nn.Linear(latents, math.prod(self.first))
        widths = [width * 2**level for level in reversed(range(levels))]
        pairs = zip(widths, [*widths[1:], width], strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(inputs, outputs, 3, padding=1) for inputs, outputs in pairs)
        self.leave = nn.Conv2d(width, shape[0], 3, padding=1)
        self.act = activation(act)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        x = self.act(self.enter(z)).unflatten(1, self.first)
        for convolution, side in zip(self.convolutions, reversed(self.sides[:-1]), strict=True):
            x = self.act(convolution(F.interpolate(x, size=side, mode="nearest")))
        return self.leave(x)


def make_encoder(
    kind: str, shape: tuple[int, ...], hidden: tuple[int, ...], width: int, levels: int, outputs: int, act: str
) -> nn.Module:
    """kind: "mlp" (uses ``hidden``) or "conv" (uses ``width`` and ``levels``). Raises ValueError for another kind."""
    if kind == "mlp":
        return MlpEncoder(shape, hidden, outputs, act)
    if kind == "conv":
        return ConvEncoder(shape, width, levels, outputs, act)
    raise ValueError(f"expected an encoder of kind mlp or conv, found {kind!r}")


def make_decoder(
    kind: str, shape: tuple[int, ...], hidden: tuple[int, ...], width: int, levels: int, latents: int, act: str
) -> nn.Module:
    """The mirror of `make_encoder`."""
    if kind == "mlp":
        return MlpDecoder(shape, hidden, latents, act)
    if kind == "conv":
        return ConvDecoder(shape, width, levels, latents, act)
    raise ValueError(f"expected a decoder of kind mlp or conv, found {kind!r}")
