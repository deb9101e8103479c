"""A page for eyes: decoded pictures of several codecs at one file size, shown in one place, by name or blind."""

from __future__ import annotations

import hashlib
import html
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..contracts import UsageError
from ..data.files import make_folder, write_atomic
from ..data.webpage import filled
from ..metrics import METRICS
from . import provenance
from .codecs import FileCodec
from .measurements import read_rgb
from .peers import PEERS
from .sizing import CODEC_ERRORS, common_size, nearest

#: In the folder of the page: itself, and the pictures, each named by its content, which says nothing of its codec.
PAGE_FILE, PICTURES_FOLDER = "index.html", "pictures"
_PAGE = Path(__file__).with_name("flip.html")
_NAME_LENGTH = 16


def write_flip(
    out: Path,
    codecs: Sequence[FileCodec],
    pictures: Sequence[Path],
    sizes: Sequence[float],
    metrics: Sequence[str],
    *,
    title: str,
    say: Callable[[str], None],
    advance: Callable[[], None] = lambda: None,
    overwrite: bool = False,
) -> tuple[int, int]:
    """Write the page and its pictures below ``out`` -> how many (picture, size) are shown, how many were left out.

    sizes: in bits per pixel; every codec is at the quality whose file comes nearest to the size, which is larger where
    some codec cannot make so small a file. metrics: columns of METRICS, told beside the pictures. What fewer than two
    codecs can encode is said and left out; advance is called after each. Raises UsageError for one codec, or the same
    one twice, OutputExistsError.
    """
    names = [codec.name for codec in codecs]
    if len(set(names)) < max(len(names), 2):
        raise UsageError(f"two codecs at least are compared, each once; got {', '.join(names)}")
    make_folder(out / PICTURES_FOLDER)
    scenes = []
    for path in pictures:
        for bpp in sizes:
            try:
                scene = _scene(_Keeper(out / PICTURES_FOLDER, path, overwrite), list(codecs), path, bpp, metrics, say)
            except CODEC_ERRORS as error:
                say(f"{path.name}: left out: {error}")
                scene = None
            if scene:
                scenes.append(scene)
            advance()
    wanted = len(pictures) * len(sizes)
    if scenes:
        content = _data(codecs, scenes, metrics, title)
        # "<" could end the script element that the data stands in.
        text = json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
        page = filled(_PAGE, {"TITLE": html.escape(title), "DATA": text})
        write_atomic(out / PAGE_FILE, page.encode("utf-8", "replace"), overwrite=overwrite, sources=list(pictures))
    return len(scenes), wanted - len(scenes)


def _data(
    codecs: Sequence[FileCodec], scenes: list[dict[str, Any]], metrics: Sequence[str], title: str
) -> dict[str, Any]:
    """What the page is made of."""
    origin = provenance.collect()
    return {
        "title": title,
        "codecs": [
            {"name": codec.name, "label": _label(codec.name), "settings": codec.settings, "version": codec.version}
            for codec in codecs
        ],
        "scores": [{"label": m.label, "unit": m.unit, "digits": m.digits} for m in (METRICS[name] for name in metrics)],
        "scenes": scenes,
        "origin": {key: origin[key] for key in ("date", "command", "commit")},
    }


def _label(name: str) -> str:
    return PEERS[name].label if name in PEERS else name


@dataclass(frozen=True)
class _Keeper:
    """Writes what is made of a picture into a folder."""

    folder: Path
    source: Path
    overwrite: bool

    def keep(self, image: Image.Image) -> str:
        """Pixels as a PNG -> its address on the page, made of its content. What is there already stays."""
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        data = buffer.getvalue()
        path = self.folder / f"{hashlib.sha256(data).hexdigest()[:_NAME_LENGTH]}.png"
        if not (path.is_file() and path.read_bytes() == data):
            write_atomic(path, data, overwrite=self.overwrite, sources=[self.source])
        return f"{self.folder.name}/{path.name}"


def _scene(
    keeper: _Keeper, codecs: list[FileCodec], path: Path, bpp: float, metrics: Sequence[str], say: Callable[[str], None]
) -> dict[str, Any] | None:
    """One picture at one size; None where fewer than two codecs can encode it. Raises one of CODEC_ERRORS."""
    image = read_rgb(path)
    target, able = common_size(codecs, image, bpp, path.name, say)
    if len(able) < 2:
        return None
    return {
        "picture": path.stem,
        "width": image.width,
        "height": image.height,
        "target": target,
        "original": keeper.keep(image),
        "files": {codec.name: _file(keeper, codec, image, target, metrics) for codec in able},
    }


def _file(keeper: _Keeper, codec: FileCodec, image: Image.Image, target: int, metrics: Sequence[str]) -> dict[str, Any]:
    """A codec's file as the page tells of it, and its pixels kept. Raises ValueError if they are of another size."""
    found = nearest(codec, image, target)
    decoded = codec.decode(found.data)
    pair = np.asarray(image), np.asarray(decoded)
    scores = [METRICS[name].score(*pair) for name in metrics]
    return {
        "shown": keeper.keep(decoded),
        "quality": found.quality,
        "bytes": len(found.data),
        "scores": [score if math.isfinite(score) else None for score in scores],
    }
