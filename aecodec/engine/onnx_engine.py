"""The engine of ONNX Runtime: a checkpoint with graphs, on the CPU, without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..coding.post_filter import PostFilter
from ..coding.rans import Part
from ..contracts import LatentCode, SymbolPlane
from ..data.tiling import Window
from ..latents import coder_of
from ..latents.protocol import Parts, RefinableCoder, expect
from ..parallel import Lock
from ..zoo.stored import Stored
from .filtering import filtered, surroundings
from .levels import levels_of, planes_of
from .networks import OnnxNetworks
from .onnx_refinement import OnnxRefinement, VisualRefinement, coloured, original
from .protocol import Canvas, Refined, RefiningEngine


class OnnxEngine:
    """See `protocol.RefiningEngine`. Transforms run in float32. Latents are refined by the checkpoint's graphs, or by
    another engine where it lacks those of gradients."""

    def __init__(self, stored: Stored, path: Path, open_refining: Callable[[], RefiningEngine]) -> None:
        """path: of the checkpoint; open_refining: opens an engine of the same that has gradients. Raises
        CheckpointError for a model that codes no pictures, or one whose exact part could leave the range in which its
        arithmetic is exact, or without onnxruntime."""
        self._coder = coder_of(stored.family, Parts(stored.config, stored.tensors, stored.tables), path)
        self._networks = OnnxNetworks(stored, path, lean=getattr(self._coder, "gradients", ()))
        self._open_refining = open_refining
        self._refining_engine: RefiningEngine | None = None
        self._opening = Lock()
        self.name, self.family, self.fingerprint = stored.name, stored.family, stored.fingerprint
        self.stride, self.alignment, self.context = self._coder.stride, self._coder.alignment, self._coder.context
        self.mean_reach = self._coder.mean_reach
        self.latents, self.variable_rate = self._coder.latents, self._coder.variable_rate
        self.visual = float(getattr(self._coder, "visual", 0.0))

    def analyse(self, pixels: np.ndarray) -> np.ndarray:
        """See `Engine.analyse`."""
        planes = np.broadcast_to(pixels, (3, *pixels.shape)) if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        y = self._networks("analysis", x=np.divide(planes[None], np.float32(255.0), dtype=np.float32))
        height, width = pixels.shape[:2]
        return expect(y, (1, self.latents, height // self.stride, width // self.stride), "analysis")[0]

    def quantise(self, y: np.ndarray, quality: int) -> LatentCode:
        """See `Engine.quantise`."""
        return self._coder.quantise(self._networks, y, quality)

    def symbol_planes(self, code: LatentCode) -> list[tuple[SymbolPlane, Any]]:
        """See `Engine.symbol_planes`."""
        return list(self._coder.symbol_planes(code))

    def encode_tile(self, code: LatentCode) -> bytes:
        """See `Engine.encode_tile`."""
        return self._coder.encode_tile(code)

    def decode_tile(self, data: bytes, quality: int, height: int, width: int, part: Part | None = None) -> LatentCode:
        """See `Engine.decode_tile`."""
        return self._coder.decode_tile(data, quality, height, width, part)

    def dequantise(self, code: LatentCode) -> np.ndarray:
        """See `Engine.dequantise`."""
        return self._coder.dequantise(self._networks, code)

    def synthesise(
        self, y_hat: np.ndarray, quality: int, inner: Window, *, grey: bool, post_filter: PostFilter | None = None
    ) -> np.ndarray:
        """See `Engine.synthesise`."""
        shown = inner.times(self.stride)
        rows, columns = shown.slices
        x_hat = self._coder.synthesise(self._networks, y_hat, quality)
        x_hat = x_hat[:, rows, columns] if post_filter is None else surroundings(x_hat, shown)
        if grey:
            x_hat = x_hat.mean(axis=0, keepdims=True, dtype=np.float32)
        if post_filter is not None:
            x_hat = filtered(x_hat, post_filter)
        return levels_of(x_hat)

    # -- refinement ------------------------------------------------------------------------------

    @property
    def refines_cheaply(self) -> bool:
        """Whether it refines latents itself."""
        return self._refinable is not None

    @property
    def _refinable(self) -> RefinableCoder | None:
        """The coder, if the checkpoint has what it needs to refine latents."""
        coder = self._coder
        return coder if isinstance(coder, RefinableCoder) and self._networks.hold(coder.gradients) else None

    def distortion_weight(self, quality: int) -> float:
        """See `RefiningEngine.distortion_weight`."""
        return (self._refinable or self._refining()).distortion_weight(quality)

    def distortion(self, pixels: np.ndarray, decoded: np.ndarray) -> float:
        """See `RefiningEngine.distortion`."""
        coder = self._refinable
        if coder is None:
            return self._refining().distortion(pixels, decoded)
        return original(planes_of(pixels), coder.visual).distortion(coloured(planes_of(decoded)))

    def refine(self, code: LatentCode, canvas: Canvas, steps: int) -> Refined:
        """See `RefiningEngine.refine`. Raises what opening the other engine raises."""
        coder = self._refinable
        if coder is None:
            return self._refining().refine(code, canvas, steps)
        refinement = VisualRefinement if coder.visual else OnnxRefinement
        return refinement(coder, self._networks, code, canvas).run(steps)

    def _refining(self) -> RefiningEngine:
        """The engine with gradients, opened when it is first needed."""
        with self._opening:
            if self._refining_engine is None:
                self._refining_engine = self._open_refining()
            return self._refining_engine
