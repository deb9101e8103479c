"""The brightness of a colour: Rec. 601 luma."""

from __future__ import annotations

import torch

#: Shares of R, G and B (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


def luma(x: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) RGB, floating, of any range -> (B, 1, H, W), in the same units; one channel stays as it is."""
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
