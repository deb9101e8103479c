"""The law of metadata: whatever the blocks of a picture are, every writer writes it and its pixels are read again."""

from __future__ import annotations

import io
import json
import random
import struct
import warnings

import numpy as np
from PIL import Image, ImageCms

from aecodec.data.images import Picture, encode_picture, read_picture

from .law import INTERESTING, Law, changed

SUFFIXES = (".png", ".jpg", ".tif", ".webp", ".bmp", ".ppm", ".avif")
#: Endings of formats that hold pixels without loss.
LOSSLESS = (".png", ".tif", ".bmp", ".ppm")
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0100] = 6, "maker", 9
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    return exif.tobytes()


def _tiff(rng: random.Random) -> bytes:
    """Exif of a few entries of any tag, type, count and value, in either order of bytes."""
    mark = rng.choice("<>")
    tags = (
        0x0112,
        0x0100,
        0x0101,
        0x0102,
        0x0106,
        0x0111,
        0x0117,
        0x8769,
        0x8825,
        0x02BC,
        0x8773,
        rng.randrange(1 << 16),
    )
    entries = sorted(
        (rng.choice(tags), rng.randrange(15), rng.choice((0, 1, 2, 8, *INTERESTING)), rng.choice((6, 8, *INTERESTING)))
        for _ in range(rng.randrange(1, 6))
    )
    packed = b"".join(struct.pack(f"{mark}HHII", *entry) for entry in entries)
    head = (b"II*\0" if mark == "<" else b"MM\0*") + struct.pack(f"{mark}IH", 8, len(entries))
    tail = struct.pack(f"{mark}I", rng.choice((0, 8, 1 << 31)))
    return rng.choice((b"", b"Exif\0\0")) + head + packed + tail + rng.randbytes(rng.choice((0, 16, 300)))


class MetadataLaw(Law):
    """See the module's docstring. An example is JSON: an ending, and blocks in hexadecimal digits."""

    suffix = ".json"

    def __init__(self) -> None:
        super().__init__()
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        self._seeds = {"exif": _exif(), "xmp": _XMP, "icc": profile}

    def make(self, rng: random.Random, number: int) -> tuple[bytes, bool]:
        """One to three blocks: changed ones, arbitrary bytes, Exif of any entries, and large ones."""
        blocks = {}
        for kind in rng.sample(sorted(self._seeds), rng.randint(1, 3)):
            choice = rng.randrange(6)
            if choice == 0:
                blocks[kind] = rng.randbytes(rng.choice((0, 1, 6, 8, 64, 1000)))
            elif choice == 1 and kind == "exif":
                blocks[kind] = _tiff(rng)
            elif choice == 2:
                blocks[kind] = self._seeds[kind] + bytes(rng.choice((1, 65_000, 66_000, 140_000)))
            else:
                blocks[kind] = changed(rng, self._seeds[kind], list(self._seeds.values()), head=200)
        suffix = SUFFIXES[number % len(SUFFIXES)]
        return json.dumps({"suffix": suffix, **{key: block.hex() for key, block in blocks.items()}}).encode(), True

    def outcome(self, data: bytes, repaired: bool) -> str:
        """Written and read by ours and by Pillow."""
        blocks = json.loads(data)
        suffix = blocks.pop("suffix")
        picture = Picture(PIXELS, {kind: bytes.fromhex(block) for kind, block in blocks.items()})
        shown = np.asarray(picture.upright_pixels[:])
        written, _ = encode_picture(picture, suffix)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(written)) as image:
                image.load()
        again = read_picture(written)
        sizes = {shown.shape, PIXELS.shape}
        if again.pixels.shape not in sizes:
            raise AssertionError(f"{suffix}: written {PIXELS.shape}, read {again.pixels.shape}")
        if suffix in LOSSLESS and not np.array_equal(np.asarray(again.upright_pixels[:]), shown):
            raise AssertionError(f"{suffix}: other pixels are read than were written")
        return f"{suffix} with {' '.join(sorted(again.metadata)) or 'none'}"
