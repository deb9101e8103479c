"""Laws of the transforms' start: principal components, as the slow way finds them."""

from __future__ import annotations

import torch

from aecodec.nn.transforms import STRIDE, Analysis, Synthesis, start_from_components


def test_the_linear_transforms_start_as_the_projection_on_the_first_components():
    torch.manual_seed(0)
    latents, scale = 12, 3.0
    analysis, synthesis = Analysis(8, latents, 1), Synthesis(8, latents, 1)
    mixing = torch.randn(20, 3 * STRIDE**2) * 0.9 ** torch.arange(20)[:, None]
    blocks = 0.5 + torch.randn(400, 20) @ mixing / 50
    crops = torch.nn.functional.pixel_shuffle(blocks.view(25, 4, 4, -1).permute(0, 3, 1, 2), STRIDE)
    deviations = start_from_components(analysis, synthesis, crops.split(10), scale)
    inner, outer = (transform.linear.weight[:, :, 0, 0].double() for transform in (analysis, synthesis))
    # The oracle: singular vectors of the blocks themselves.
    _, singular, directions = torch.linalg.svd(blocks.double() - 0.5, full_matrices=False)
    torch.testing.assert_close(outer @ inner, directions[:latents].T @ directions[:latents], rtol=0, atol=1e-5)
    torch.testing.assert_close(deviations, scale * singular[:latents] / len(blocks) ** 0.5, rtol=1e-6, atol=0)
    y = analysis.linear(torch.nn.functional.pixel_unshuffle(crops - 0.5, STRIDE))
    torch.testing.assert_close(y.square().mean((0, 2, 3)).sqrt().double(), deviations, rtol=1e-4, atol=0)
