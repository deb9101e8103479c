"""The law of picture files: a picture or a named error, in bounded time and memory, and nothing printed."""

from __future__ import annotations

import io
import os
import random
import re
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from aecodec.data.images import read_picture
from aecodec.data.plugins import register_plugins

from .law import INTERESTING, Law, changed

_HEIGHT, _WIDTH = 12, 17
#: Sides, counts and lengths that a file may claim.
_CLAIMS = (*INTERESTING, 3, 17, 4096, 9459, 16383, 65535, 1 << 22, 5_000_000, 89_000_000, 0x7FFFFFF0)
#: In bytes of text: numbers.
_DIGITS = re.compile(rb"\d+")
_PNG, _TIFF = b"\x89PNG\r\n\x1a\n", (b"II*\0", b"MM\0*")


def _seeds() -> list[bytes]:
    """Small pictures of every format that is written, of several modes, with metadata and more than one frame."""
    values = np.random.default_rng(0).integers(0, 256, (_HEIGHT, _WIDTH, 4)).astype(np.uint8)
    colour = Image.fromarray(values[..., :3])
    modes = {mode: colour.convert(mode) for mode in ("1", "L", "P", "RGB", "CMYK", "I;16")}
    modes["RGBA"] = Image.fromarray(values)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "a title", zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x/>", zip=True)
    said = {"exif": exif, "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}
    written = (
        *(("PNG", mode, {}) for mode in ("1", "P", "RGBA", "I;16")),
        ("PNG", "RGB", {**said, "pnginfo": text}),
        ("PNG", "RGB", {"save_all": True, "append_images": 2}),
        *(("JPEG", mode, {}) for mode in ("L", "CMYK")),
        ("JPEG", "RGB", {**said, "progressive": True}),
        ("MPO", "RGB", {"save_all": True, "append_images": 2}),
        *(("WEBP", "RGBA", {"lossless": lossless}) for lossless in (False, True)),
        ("WEBP", "RGB", {**said, "save_all": True, "append_images": 2}),
        *(("TIFF", mode, {}) for mode in ("1", "P", "RGBA", "I;16")),
        *(("TIFF", "RGB", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")),
        ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "RGB", {**said, "save_all": True, "append_images": 2}),
        ("GIF", "P", {}),
        ("GIF", "RGB", {"save_all": True, "append_images": 2, "transparency": 0}),
        *(("BMP", mode, {}) for mode in ("1", "P", "RGB", "RGBA")),
        ("AVIF", "RGBA", said),
        ("AVIF", "RGB", {"save_all": True, "append_images": 2}),
        *(("PPM", mode, {}) for mode in ("1", "L", "RGB", "I;16")),
        *(("JPEG2000", "RGB", {}), ("ICO", "RGBA", {"sizes": [(12, 12)]}), ("TGA", "RGB", {"compression": "tga_rle"})),
        *(
            ("PCX", "RGB", {}),
            ("SGI", "RGB", {}),
            ("DDS", "RGBA", {}),
            ("BLP", "P", {}),
            ("XBM", "1", {}),
            ("IM", "L", {}),
        ),
    )
    register_plugins()
    optional = (("HEIF", "L", {}), ("HEIF", "RGBA", said), ("JXL", "L", {}), ("JXL", "RGBA", {"exif": exif.tobytes()}))
    written += tuple(one for one in optional if one[0] in Image.SAVE)
    seeds = [b"P3 2 1 255 1 2 3 4 5 6\n", b"P2\n# text\n2 1\n65535\n1 2\n"]
    for name, mode, options in written:
        buffer = io.BytesIO()
        # Copies: Pillow leaves a writer's options in what it has written.
        frames = [
            Image.fromarray(np.roll(values[..., :3], shift, 0)) for shift in range(options.get("append_images", 0))
        ]
        modes[mode].copy().save(buffer, name, **options | {"append_images": frames})
        seeds.append(buffer.getvalue())
    return seeds


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of the chunks of a PNG that is whole."""
    place = len(_PNG)
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        place += 12 + length


def _changed_png(rng: random.Random, seed: bytes) -> bytes:
    """A chunk changed or put in, all checksums right: what is packed may be far larger than its bytes."""
    chunks = list(_chunks(seed))
    place = rng.randrange(len(chunks))
    kind, content = chunks[place]
    if rng.random() < 0.3:
        bomb = zlib.compress(bytes(rng.choice((1 << 10, 1 << 20, 1 << 24))))
        kind = rng.choice((b"zTXt", b"iCCP", b"iTXt", b"tEXt", b"eXIf", b"IDAT", b"fdAT"))
        head = rng.choice((b"", b"a\0\0", b"Raw profile type exif\0\0", b"XML:com.adobe.xmp\0\1\0\0\0"))
        chunks[place:place] = [(kind, head + bomb)] * rng.choice((1, 1, 3))
    elif content and rng.random() < 0.5:
        chunks[place] = kind, _claimed(rng, content, len(content))
    else:
        chunks[place] = kind, changed(rng, content, [seed])
    return _PNG + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _changed_tiff(rng: random.Random, seed: bytes) -> bytes:
    """One to three entries of the first directory with another tag, type, count or value."""
    order = "<" if seed.startswith(b"II") else ">"
    data = bytearray(seed)
    (start,) = struct.unpack_from(order + "I", seed, 4)
    (count,) = struct.unpack_from(order + "H", seed, start)
    for _ in range(rng.randint(1, 3)):
        place = start + 2 + 12 * rng.randrange(count)
        field = rng.randrange(8)
        if field == 0:
            struct.pack_into(order + "H", data, place, rng.choice((*range(254, 350), 700, 34675, rng.randrange(65536))))
        elif field == 1:
            struct.pack_into(order + "H", data, place + 2, rng.randrange(20))
        elif field == 2:
            struct.pack_into(order + "I", data, place + 4, rng.choice(_CLAIMS))
        else:
            struct.pack_into(order + "HI", data, place + 2, 4, rng.choice((1, 1, 1, 3)))
            struct.pack_into(order + "I", data, place + 8, rng.choice(_CLAIMS))
    return bytes(data)


def _claimed(rng: random.Random, seed: bytes, head: int) -> bytes:
    """One or two numbers in the first bytes, of two or four bytes in either order, or of digits, are claims."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 2)):
        numbers = list(_DIGITS.finditer(bytes(data[:head])))
        if numbers and rng.random() < 0.3:
            found = rng.choice(numbers)
            data[found.start() : found.end()] = b"%d" % rng.choice(_CLAIMS)
            continue
        place, claim = rng.randrange(min(len(data), head)), rng.choice(_CLAIMS)
        width = "H" if claim <= 0xFFFF and rng.random() < 0.5 else "I"
        packed = struct.pack(rng.choice("<>") + width, claim)
        data[place : place + len(packed)] = packed
    return bytes(data)


class PictureLaw(Law):
    """See the module's docstring. Pictures may cost by the pixel; errors may not."""

    def __init__(self) -> None:
        super().__init__()
        self._seeds = _seeds()
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the law
        for seed in self._seeds:  # every reader is loaded, and holds what it holds, before any is measured
            read_picture(seed)

    def make(self, rng: random.Random, number: int) -> tuple[bytes, bool]:
        """Changed as bytes, or in the structure of its format, or in what its first bytes claim."""
        seed = rng.choice(self._seeds)
        kind = rng.randrange(3)
        if kind == 0:
            return changed(rng, seed, self._seeds), False
        if kind == 1 and seed.startswith(_PNG):
            return _changed_png(rng, seed), True
        if kind == 1 and seed.startswith(_TIFF):
            return _changed_tiff(rng, seed), True
        return _claimed(rng, seed, 200), True

    def outcome(self, data: bytes, repaired: bool) -> str:
        """Read, with all that libraries print caught."""
        self._printed.seek(0)
        self._printed.truncate()
        stderr = os.dup(2)
        os.dup2(self._printed.fileno(), 2)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                picture = read_picture(data)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            self._printed.seek(0)
            printed = self._printed.read(1000)
            if printed:
                raise AssertionError(f"printed: {printed.decode(errors='replace')}")
        pixels, alpha = picture.pixels, picture.alpha
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
            raise AssertionError(f"pixels of {pixels.dtype} and {pixels.shape}")
        if alpha is not None and alpha.shape != pixels.shape[:2]:
            raise AssertionError(f"alpha of {alpha.shape} for pixels of {pixels.shape}")
        self.pixels = pixels.shape[0] * pixels.shape[1]
        return "read whole" if pixels.shape[:2] in ((_HEIGHT, _WIDTH), (_WIDTH, _HEIGHT)) else "read in another size"
