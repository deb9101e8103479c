"""``aecodec info``, ``verify`` and ``compare``: looking at files without changing any."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..coding.container import SUFFIX
from ..contracts import UsageError, error_of
from ..data.folders import Walk
from .output import emit_json, expand, fail, notice, say, size_text, tell_walk

if TYPE_CHECKING:
    import numpy as np


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-r", "--recursive", is_flag=True, help="Walk folders.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per file on stdout.")
def info(files: tuple[str, ...], recursive: bool, as_json: bool) -> int:
    """Size, model, quality and chunks of .aec files. Loads no weights."""
    from ..codec.info import info as inspect_file

    codes = []
    walk = Walk({SUFFIX}, once=False)
    for path, _ in expand(files, recursive, walk):
        try:
            record = inspect_file(path)
        except Exception as fault:
            codes.append(fail(error_of(path, fault), {"file": path} if as_json else None))
            continue
        if as_json:
            emit_json(record)
        else:
            say(*_describe(record))
    return tell_walk(walk, _summary(codes, len(files)))


def _describe(record: dict[str, Any]) -> list[str]:
    kinds = ", ".join(f"{kind} {size_text(count)}" for kind, count in record["metadata"].items()) or "none"
    found = record["semantic_hash"]
    semantic = f"{4 * len(found['bits'])} bits of {found['hasher']}" if found else "none"
    return [
        record["file"],
        f"  picture   {record['width']} x {record['height']}, {record['colour']}, {record['bit_depth']} bits",
        f"  file      {record['bytes']} bytes, {record['bpp']:.4f} bpp, format {record['format_version']}",
        f"  quality   {record['quality']:g}",
        f"  model     {record['model']}, fingerprint {record['fingerprint']}",
        f"  tiles     {record['tiles']} of {record['tile']} x {record['tile']}, {record['payload_bytes']} bytes",
        f"  alpha     {size_text(record['alpha_bytes']) if record['alpha_bytes'] else 'none'}",
        f"  metadata  {kinds}",
        f"  hash      {semantic}",
    ]


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-r", "--recursive", is_flag=True, help="Walk folders.")
@click.option("--full", is_flag=True, help="Decode each file as well; needs its model.")
@click.option("-m", "--model", metavar="NAME|PATH", help="A model outside the zoo and the cache.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line per file on stdout.")
def verify(files: tuple[str, ...], recursive: bool, full: bool, model: str | None, as_json: bool) -> int:
    """Check all checksums; exit code 3 for damage, 4 for a missing model."""
    codes = []
    walk = Walk({SUFFIX}, once=False)
    for path, _ in expand(files, recursive, walk):
        try:
            _verify_one(path, full, model)
        except Exception as fault:
            codes.append(fail(error_of(path, fault), {"file": path, "valid": False} if as_json else None))
            continue
        if as_json:
            emit_json({"file": path, "valid": True})
        else:
            say(f"{path}: fine")
    return tell_walk(walk, _summary(codes, len(files)))


def _verify_one(path: str, full: bool, model: str | None) -> None:
    if full:
        from ..codec.files import verify as verify_file

        verify_file(path, full=True, model=model)
    else:
        from ..codec.info import info as inspect_file

        inspect_file(path)


def _summary(codes: list[int], files: int) -> int:
    if not codes:
        return 0
    return codes[0] if files == 1 else 1


@click.command()
@click.argument("reference")
@click.argument("other")
@click.option("--json", "as_json", is_flag=True, help="One JSON line on stdout.")
def compare(reference: str, other: str, as_json: bool) -> None:
    """PSNR and MS-SSIM of OTHER against REFERENCE; either may be an .aec file.

    Where one is transparent, both are laid on black and on white, and the lower figures count.
    """
    import numpy as np

    from ..data.pixels import on_ground
    from ..metrics.ms_ssim import ms_ssim
    from ..metrics.psnr import psnr

    (a, alpha_a), (b, alpha_b) = _shown(reference), _shown(other)
    if a.ndim != b.ndim:
        a, b = (p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=2) for p in (a, b))
    if a.shape != b.shape:
        raise UsageError(
            f"the pictures differ in size: {a.shape[1]} x {a.shape[0]} and {b.shape[1]} x {b.shape[0]} pixels"
        )
    transparent = alpha_a is not None or alpha_b is not None
    pairs = [(on_ground(a, alpha_a, g), on_ground(b, alpha_b, g)) for g in ((0, 255) if transparent else (0,))]
    decibel, similarity = min(psnr(*pair) for pair in pairs), min(ms_ssim(*pair) for pair in pairs)
    opaque = np.full(a.shape[:2], 255, np.uint8)
    first, second = (opaque if alpha is None else alpha for alpha in (alpha_a, alpha_b))
    identical = np.array_equal(a, b) and np.array_equal(first, second)
    if as_json:
        emit_json(
            {
                "reference": reference,
                "other": other,
                "psnr": decibel if math.isfinite(decibel) else None,
                "ms_ssim": similarity if math.isfinite(similarity) else None,
                "identical": identical,
            }
        )
        return
    alike = "identical" if identical else "they differ in what is wholly transparent alone"
    say(f"PSNR     {alike if math.isinf(decibel) else f'{decibel:.3f} dB'}")
    say(f"MS-SSIM  {'picture too small' if math.isnan(similarity) else f'{similarity:.5f}'}")


def _shown(path: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels and alpha of a picture or of an .aec file as they are to be shown. What of it is not compared, further
    frames or bits, is said."""
    from ..data.images import read_bytes, read_picture

    if path.endswith(SUFFIX):
        from ..codec.files import Codecs, decode_source

        picture = decode_source(read_bytes(Path(path)), Codecs())
        return picture.upright_pixels, picture.upright_alpha
    picture = read_picture(Path(path))
    for text in picture.notices:
        notice(text)
    return picture.pixels, picture.alpha
