"""The exact side of a codec family: what latents/ does with the integers of a module and its frozen tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from ..coding.rans import Part
from ..coding.tables import TableSet
from ..contracts import LatentCode, SymbolPlane
from ..latents.protocol import Parts


class ModuleTensors(Mapping[str, np.ndarray]):
    """The parameters and buffers of a module by name, as arrays on the host: views where they lie there."""

    def __init__(self, module: nn.Module) -> None:
        self._tensors = module.state_dict()

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensors[name].detach().cpu().numpy()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


class Coded(nn.Module):
    """A codec family whose integers are handled by a coder of latents/, made anew whenever its tables are set."""

    coder_class: ClassVar[Any]
    config: Any
    _coder: Any = None
    _tables: dict[str, TableSet]

    @property
    def tables(self) -> dict[str, TableSet]:
        """Frozen probability tables by name; none before `freeze`."""
        return self._tables

    @tables.setter
    def tables(self, tables: dict[str, TableSet]) -> None:
        self._tables, self._coder = tables, None

    @property
    def stride(self) -> int:
        """Pixels per latent position."""
        return self.coder_class.stride

    @property
    def alignment(self) -> int:
        """Pixels that a tile's sides are multiples of."""
        return self.coder_class.alignment

    @property
    def variable_rate(self) -> bool:
        """Whether the quality step changes anything."""
        return self.coder_class.variable_rate

    @property
    def context(self) -> int:
        """How many latent positions beyond a window the transforms look at."""
        return self.coder_class.context_of(asdict(self.config))

    @property
    def mean_reach(self) -> int:
        """How many latent positions beyond a window the predictor of the means looks at."""
        return self.coder_class.mean_reach

    @property
    def coder(self) -> Any:
        """What turns integers into bytes and back, as frozen."""
        if self._coder is None:
            with torch.inference_mode(False):
                self._coder = self.coder_class(Parts(asdict(self.config), ModuleTensors(self), self._tables))
        return self._coder

    def distortion(self, x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
        """See `contracts.TileCodec.distortion`: the mean squared error, but for families that say otherwise."""
        return (x_hat - x).square().mean(dim=(1, 2, 3))

    def prove_exact(self) -> None:
        """Raises CheckpointError if the exact part could leave the range in which its arithmetic is exact."""
        self.coder.prove_exact()

    def code_shapes(self, height: int, width: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Shapes of y and z (or None) for a tile of (height, width) latent positions."""
        return self.coder.code_shapes(height, width)

    def table_indices(self, code: LatentCode) -> np.ndarray:
        """(N, H, W) integers: which of ``tables["y"]`` codes each latent."""
        return self.coder.table_indices(code)

    def symbol_planes(self, code: LatentCode) -> list[tuple[SymbolPlane, TableSet]]:
        """What the entropy coder sees of a tile, in decoding order."""
        return self.coder.symbol_planes(code)

    def encode_tile(self, code: LatentCode) -> bytes:
        """Integers of a tile -> entropy-coded bytes."""
        return self.coder.encode_tile(code)

    def decode_tile(self, data: bytes, quality: int, height: int, width: int, part: Part | None = None) -> LatentCode:
        """Bytes -> integers of a tile of (height, width) latent positions, or of a part. Raises BitstreamError."""
        return self.coder.decode_tile(data, quality, height, width, part)
