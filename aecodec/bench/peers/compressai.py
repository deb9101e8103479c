"""CompressAI's zoo architectures from local checkpoints, run through CompressAI itself, as a peer."""

from __future__ import annotations

import hashlib
import struct
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...contracts import CheckpointError, UnknownName, UsageError
from ..codecs import FileCodec
from .package import require_package

#: Point, height, width, height and width of the hyper-latents, number of strings; then each string's length.
_HEAD = struct.Struct(">BHHHHB")
_LENGTH = struct.Struct(">I")
#: Six halvings, as in CompressAI's own evaluation.
_MULTIPLE = 64
_SUFFIXES = (".pth", ".pt", ".tar")


def open_compressai(argument: str, device: str = "cpu") -> FileCodec:
    """ARCHITECTURE:PATH: one of `compressai.zoo` with the weights of a file, or of a folder, one point for each file.

    Quality k is the k-th smallest name, from 1. A file holds what CompressAI's decoder needs and nothing more: its
    strings behind 10 bytes, plus 4 for each string's length. CompressAI's evaluation counts the strings alone. The
    device is that of our models; this one runs on the CPU.
    Raises UsageError, MissingDependencyError, UnknownName for the architecture, CheckpointError.
    """
    arch, _, where = argument.partition(":")
    if not where:
        raise UsageError(f"expected compressai:ARCHITECTURE:PATH, got 'compressai:{argument}'")
    require_package("compressai:...", "compressai")
    from compressai.zoo.image import model_architectures

    if arch not in model_architectures:
        raise UnknownName(f"compressai has no architecture {arch!r}; there are: {', '.join(model_architectures)}")
    place = Path(where)
    paths = sorted(p for p in place.iterdir() if p.name.endswith(_SUFFIXES)) if place.is_dir() else [place]
    if not paths:
        raise CheckpointError(f"{place}: no checkpoint in it (expected {', '.join(_SUFFIXES)})")
    models = [_load(model_architectures[arch], path) for path in paths]
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)).hexdigest()
    return FileCodec(
        f"compressai-{arch}",
        f"CompressAI {arch} on the CPU, {len(paths)} checkpoints",
        f"compressai {metadata.version('compressai')}, weights {digest[:16]}",
        tuple(float(number) for number in range(1, len(models) + 1)),
        lambda image, quality: _encode(models, image, int(quality)),
        lambda data: _decode(models, data),
        scale="checkpoint",
        limits=(1, len(models)),
        learned=True,
    )


def _load(architecture: Any, path: Path) -> Any:
    from compressai.zoo import load_state_dict

    from ...data.pickled import read_pickled

    content = read_pickled(path, CheckpointError, says=f"no checkpoint of {architecture.__name__}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = architecture.from_state_dict(load_state_dict(content.get("state_dict", content)))
    except Exception as error:  # whatever compressai makes of names and tensors that are not its own
        raise CheckpointError(f"{path}: no checkpoint of {architecture.__name__} ({error})") from error
    model.update()
    return model.eval()


def _padding(height: int, width: int) -> tuple[Any, Any]:
    from compressai.ops import compute_padding

    pad, unpad = compute_padding(height, width, min_div=_MULTIPLE)
    return pad, unpad


def _encode(models: list[Any], image: Image.Image, point: int) -> bytes:
    import torch
    import torch.nn.functional as F

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    pad, _ = _padding(image.height, image.width)
    with torch.no_grad():
        coded = models[point - 1].compress(F.pad(pixels, pad, mode="constant", value=0))
    strings = [batch[0] for batch in coded["strings"]]
    head = _HEAD.pack(point, image.height, image.width, *coded["shape"], len(strings))
    return head + b"".join(_LENGTH.pack(len(string)) for string in strings) + b"".join(strings)


def _decode(models: list[Any], data: bytes) -> Image.Image:
    import torch
    import torch.nn.functional as F

    point, height, width, rows, columns, count = _HEAD.unpack_from(data)
    lengths = [_LENGTH.unpack_from(data, _HEAD.size + _LENGTH.size * k)[0] for k in range(count)]
    at, strings = _HEAD.size + _LENGTH.size * count, []
    for length in lengths:
        strings.append([data[at : at + length]])
        at += length
    if at != len(data):
        raise ValueError(f"expected {at} bytes, found {len(data)}")
    _, unpad = _padding(height, width)
    with torch.no_grad():
        x_hat = F.pad(models[point - 1].decompress(strings, (rows, columns))["x_hat"], unpad)
    pixels = (x_hat[0].clamp(0, 1) * 255).round().permute(1, 2, 0).to(torch.uint8)
    return Image.fromarray(pixels.numpy())
