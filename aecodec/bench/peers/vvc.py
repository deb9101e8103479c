"""VVC intra through the programs vvencapp and vvdecapp: 10-bit 4:2:0 in, a picture back out."""

from __future__ import annotations

import math
import struct
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from ..codecs import FileCodec
from .program import ProgramError, require, run_program, told

#: Width and height of the picture: the stream itself knows even sides only.
_HEAD = struct.Struct("<HH")
_PEAK = 1023
_ENCODE = (
    "vvencapp -i {source} -s {width}x{height} -c yuv420_10 -r 1 -f 1 "
    "--preset medium --qp {quality} --qpa 0 -t 1 -v 1 -o {target}"
)
_DECODE = "vvdecapp -b {source} -o {target} -t 1 -v 1"
#: R, G, B -> Y, Cb, Cr of ITU-R BT.601, full range; chroma around 0.
_TO_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]], np.float64
)


def to_planes(pixels: np.ndarray) -> list[np.ndarray]:
    """(H, W, 3) uint8 of even sides -> Y (H, W), Cb and Cr (H/2, W/2), uint16 in [0, 1023]; chroma is averaged."""
    y, cb, cr = np.moveaxis((pixels / 255.0) @ _TO_YCBCR.T, -1, 0)
    halved = [c.reshape(c.shape[0] // 2, 2, c.shape[1] // 2, 2).mean(axis=(1, 3)) for c in (cb, cr)]
    planes = [y * _PEAK, *(c * _PEAK + (_PEAK + 1) / 2 for c in halved)]
    return [np.clip(np.rint(plane), 0, _PEAK).astype(np.uint16) for plane in planes]


def from_planes(y: np.ndarray, cb: np.ndarray, cr: np.ndarray) -> np.ndarray:
    """The inverse of `to_planes`; chroma is enlarged by cubic interpolation."""
    size = y.shape[1], y.shape[0]
    chroma = [
        np.asarray(Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BICUBIC), np.float64)
        for plane in (cb, cr)
    ]
    ycbcr = np.stack([y / _PEAK, *((c - (_PEAK + 1) / 2) / _PEAK for c in chroma)], axis=2)
    rgb = ycbcr @ np.linalg.inv(_TO_YCBCR).T
    return np.clip(np.rint(rgb * 255.0), 0, 255).astype(np.uint8)


def open_vvc() -> FileCodec:
    """Points are QPs, the smaller the better. Raises MissingDependencyError if a program is not on PATH."""
    require("vvc", "vvencapp", "vvdecapp")
    said = told("vvencapp", "--version").splitlines()
    return FileCodec(
        "vvc",
        "vvencapp, preset medium, no perceptual QPA, 10-bit 4:2:0, one thread",
        f"vvencapp: {said[0] if said else 'unknown'}",
        (26.0, 32.0, 38.0, 44.0),
        _encode,
        _decode,
        scale="QP",
        limits=(0, math.inf),
        falling=True,
    )


def _encode(image: Image.Image, quality: float) -> bytes:
    pixels = np.asarray(image)
    even = np.pad(pixels, ((0, image.height % 2), (0, image.width % 2), (0, 0)), mode="edge")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.yuv"), Path(folder, "out.266")
        source.write_bytes(b"".join(plane.astype("<u2").tobytes() for plane in to_planes(even)))
        run_program(_ENCODE, target, source=source, width=even.shape[1], height=even.shape[0], quality=int(quality))
        return _HEAD.pack(image.width, image.height) + target.read_bytes()


def _decode(data: bytes) -> Image.Image:
    width, height = _HEAD.unpack_from(data)
    rows, columns = height + height % 2, width + width % 2
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.266"), Path(folder, "out.yuv")
        source.write_bytes(data[_HEAD.size :])
        run_program(_DECODE, target, source=source)
        samples = np.frombuffer(target.read_bytes(), "<u2")
    if samples.size != rows * columns * 3 // 2:
        raise ProgramError(f"vvdecapp wrote {samples.size} samples for a picture of {columns} x {rows}")
    y, rest = samples[: rows * columns].reshape(rows, columns), samples[rows * columns :]
    cb, cr = rest.reshape(2, rows // 2, columns // 2)
    return Image.fromarray(from_planes(y, cb, cr)[:height, :width])
