"""The engine of torch: a loaded checkpoint on any device, its transforms in float32 or bfloat16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..coding.post_filter import REACH, PostFilter
from ..coding.rans import Part
from ..contracts import CheckpointError, FrozenModel, LatentCode, SymbolPlane, TileCodec
from ..data.tiling import Window
from ..device import has_bfloat16
from ..parallel import after_fork
from ..shield import shield
from .protocol import Canvas, Refined
from .refinement import Refinement, cut


def limit_threads(count: int) -> None:
    """CPU threads of each of torch's operations."""
    torch.set_num_threads(count)


class Forked:
    """What computes with torch: in a forked child with one thread, for waiting for those of the parent has no end."""

    def __init__(self) -> None:
        after_fork(self._alone)

    def _alone(self) -> None:
        limit_threads(1)


@shield
class TorchEngine(Forked):
    """See `protocol.RefiningEngine`. module: the model; device: where it lies.

    precision: "float32", "bfloat16" or "auto", of the transforms alone; the latents that a file decodes to never
    depend on it. "auto" encodes in bfloat16 where the processor has it, which costs next to nothing in PSNR, and
    decodes in float32, so that pixels differ by at most one level between machines.
    """

    def __init__(self, frozen: FrozenModel, precision: str = "auto") -> None:
        """Raises CheckpointError for a model that codes no pictures."""
        super().__init__()
        self.frozen = frozen
        self.module: Any = frozen.module
        if not isinstance(self.module, TileCodec):
            raise CheckpointError(f"{frozen.name} is a model of family {frozen.family}, which codes no pictures")
        self.precision = precision
        self.device: torch.device = next(frozen.module.parameters()).device
        self.name, self.family, self.fingerprint = frozen.name, frozen.family, frozen.fingerprint
        self.stride, self.alignment, self.context = self.module.stride, self.module.alignment, self.module.context
        self.mean_reach: int = self.module.mean_reach
        self.latents: int = self.module.code_shapes(self.alignment, self.alignment)[0][0]
        self.variable_rate = bool(self.module.variable_rate)
        self.visual = float(getattr(getattr(frozen.module, "config", None), "visual", 0.0))

    # -- encoding --------------------------------------------------------------------------------

    #: Most of a few steps is loading torch.
    refines_cheaply = False

    @torch.inference_mode()
    def analyse(self, pixels: np.ndarray) -> np.ndarray:
        """See `Engine.analyse`."""
        with self.transforms(encoding=True):
            y = self.module.analyse(self.to_tensor(pixels))
        return y[0].float().cpu().contiguous().numpy()

    @torch.inference_mode()
    def quantise(self, y: np.ndarray, quality: int) -> LatentCode:
        """See `Engine.quantise`."""
        return self.module.quantise(torch.from_numpy(y)[None].to(self.device), quality)

    def symbol_planes(self, code: LatentCode) -> list[tuple[SymbolPlane, Any]]:
        """See `Engine.symbol_planes`."""
        return self.module.symbol_planes(code)

    @torch.inference_mode()
    def encode_tile(self, code: LatentCode) -> bytes:
        """See `Engine.encode_tile`."""
        return self.module.encode_tile(code)

    def distortion_weight(self, quality: int) -> float:
        """See `RefiningEngine.distortion_weight`."""
        return self.module.distortion_weight(quality)

    @torch.inference_mode()
    def distortion(self, pixels: np.ndarray, decoded: np.ndarray) -> float:
        """See `RefiningEngine.distortion`."""
        return float(self.module.distortion(self.to_tensor(pixels), self.to_tensor(decoded)))

    def refine(self, code: LatentCode, canvas: Canvas, steps: int) -> Refined:
        """See `RefiningEngine.refine`."""
        # Tensors made in inference mode have no gradients; a caller may be in it.
        with torch.inference_mode(False), torch.enable_grad():
            refinement = Refinement(
                self.module,
                code,
                y=torch.from_numpy(canvas.y)[None].to(self.device),
                y_hat=torch.from_numpy(canvas.y_hat)[None].to(self.device),
                inner=canvas.inner,
                target=self.to_tensor(canvas.target)[:, : 1 if canvas.target.ndim == 2 else 3],
                measured=canvas.measured,
                transforms=lambda: self.transforms(encoding=True),
            )
            return refinement.run(steps)

    # -- decoding --------------------------------------------------------------------------------

    @torch.inference_mode()
    def decode_tile(self, data: bytes, quality: int, height: int, width: int, part: Part | None = None) -> LatentCode:
        """See `Engine.decode_tile`."""
        return self.module.decode_tile(data, quality, height, width, part)

    @torch.inference_mode()
    def dequantise(self, code: LatentCode) -> np.ndarray:
        """See `Engine.dequantise`."""
        return self.module.dequantise(code)[0].cpu().numpy()

    @torch.inference_mode()
    def synthesise(
        self, y_hat: np.ndarray, quality: int, inner: Window, *, grey: bool, post_filter: PostFilter | None = None
    ) -> np.ndarray:
        """See `Engine.synthesise`."""
        latents = torch.from_numpy(y_hat)[None].to(self.device).contiguous(memory_format=torch.channels_last)
        with self.transforms(encoding=False):
            x_hat = self.module.synthesise(latents, quality).float()[0]
        if grey:
            x_hat = x_hat.mean(dim=0, keepdim=True)
        if post_filter is not None:
            # Over all of the window: those of its pixels that lack a neighbour lie beyond the wanted ones, or at a
            # border of the picture, where it is repeated.
            weights, biases = (torch.from_numpy(part).to(self.device) for part in post_filter.kernel())
            x_hat = F.conv2d(F.pad(x_hat[None], (REACH,) * 4, mode="replicate"), weights, biases)[0]
        x_hat = cut(x_hat, inner.times(self.stride))
        levels = torch.floor(x_hat * 255.0 + 0.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        return levels[..., 0] if grey else levels

    # -- tensors ---------------------------------------------------------------------------------

    def to_tensor(self, pixels: np.ndarray) -> torch.Tensor:
        """(H, W[, 3]) uint8 -> (1, 3, H, W) float32 in [0, 1] on the device; grey is repeated."""
        x = torch.from_numpy(np.array(pixels, order="C")).to(self.device)
        x = x[None].expand(3, -1, -1) if x.ndim == 2 else x.permute(2, 0, 1)
        return (x[None].float() / 255.0).contiguous(memory_format=torch.channels_last)

    def transforms(self, *, encoding: bool) -> AbstractContextManager[object]:
        """The context in which the transforms run."""
        if self.precision == "bfloat16" or (self.precision == "auto" and encoding and has_bfloat16(self.device)):
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()
