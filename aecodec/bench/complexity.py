"""How much arithmetic a network spends on a picture."""

from __future__ import annotations

from PIL import Image

from .codecs import FileCodec


def kmac_per_pixel(codec: FileCodec, picture: Image.Image) -> dict[str, float]:
    """Thousands of multiply-accumulates per pixel that torch spends on convolutions and matrix products.

    {"encode": ..., "decode": ...} for a learned codec at the middle of its qualities, {} for any other. Counted by
    torch's FlopCounterMode (2 floating-point operations are 1 MAC); entropy coding and integer tables are not.
    """
    if not codec.learned:
        return {}
    from torch.utils.flop_counter import FlopCounterMode

    counts, pixels = {}, picture.width * picture.height
    with FlopCounterMode(display=False) as counter:
        data = codec.encode(picture, codec.qualities[len(codec.qualities) // 2])
    counts["encode"] = counter.get_total_flops() / 2 / pixels / 1000
    with FlopCounterMode(display=False) as counter:
        codec.decode(data)
    counts["decode"] = counter.get_total_flops() / 2 / pixels / 1000
    return counts
