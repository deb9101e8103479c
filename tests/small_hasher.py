"""A hasher small enough to be made for a test."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import WITHOUT_TORCH, natural_picture
from extras import is_here
from places import TESTS

from aecodec.data.thumbnails import square_thumbnail

CONFIG = {
    "shape": [3, 32, 32],
    "n_bits": 64,
    "prefixes": [16],
    "widths": [8, 16],
    "blocks": [1, 1],
    "features": 32,
    "decoder": 8,
}


def save_hasher(path: Path, config: dict[str, object]) -> Path:
    """A small untrained hasher whose norms have seen some pictures; without torch one that was kept.

    Then a test that wants another than `CONFIG` is skipped.
    """
    if not is_here("torch"):
        if config != CONFIG:
            pytest.skip(WITHOUT_TORCH)
        path.write_bytes((TESTS / "engine" / "small-hash.safetensors").read_bytes())
        return path
    import torch

    from aecodec import checkpoint

    torch.manual_seed(0)
    model = checkpoint.build("semantic-hash", config)
    shape = model.config.shape
    x = (
        torch.stack([torch.from_numpy(square_thumbnail(natural_picture(70, 90, s), 32, shape[0])) for s in range(16)])
        / 255.0
    )
    with torch.no_grad():
        for _ in range(30):
            model.loss(x[..., : shape[1], : shape[2]], torch.Generator().manual_seed(0))
    checkpoint.save(model.eval(), path, name="small-hash", family_name="semantic-hash", card={})
    return path
