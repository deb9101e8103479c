"""Picture files to .aec files and back: the functions that the package exports, and the one cache of codecs."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..coding import container
from ..coding.container import Container, Header
from ..contracts import UsageError
from ..data.files import read_bytes, write_atomic
from ..data.images import Picture, read_picture, write_picture
from ..data.tiling import crop_window
from ..engine.opening import open_engine
from ..parallel import Lock
from ..zoo.registry import OVERFITTED, find_fingerprint, find_model, read_header
from .codec import Codec
from .encoder import Encoded
from .fidelity import doubt
from .options import EncodeOptions
from .overfitted import FINGERPRINT, OverfittedCodec
from .pictures import PictureCodec
from .quality import quality_of

if TYPE_CHECKING:
    import numpy as np

    from ..hasher import Hasher

#: Models that a cache keeps loaded.
KEPT = 4


class Codecs:
    """Codecs by the model that a user or a file asks for, each loaded once and the KEPT last used ones kept.

    model: of new files, by name or path (None: the default), and looked at first for a file's fingerprint. device,
    precision, engine, jobs: of every codec. May be used from several threads; two models are loaded at once, one
    never twice.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        device: str = "cpu",
        precision: str = "auto",
        engine: str = "auto",
        jobs: int = 1,
        loaded: Iterable[PictureCodec] = (),
    ) -> None:
        """loaded: codecs that are there already."""
        self._model, self._jobs = model, jobs
        self._opening = {"device": device, "precision": precision, "engine": engine}
        self._loaded = OrderedDict((codec.fingerprint, codec) for codec in loaded)
        self._loading: dict[bytes, Lock] = {}
        self._lock = Lock()

    def named(self, model: str | Path | None = None) -> PictureCodec:
        """The codec of a model, of the cache's own unless one is named. Raises UnknownName, CheckpointError."""
        wanted = model if model is not None else self._model
        if str(wanted) == OVERFITTED:
            return self._get(FINGERPRINT, None)
        path = find_model(wanted)
        return self._get(read_header(path)["fingerprint"], path)

    def of(self, header: Header) -> PictureCodec:
        """The codec that a file was written with. Raises ModelMismatchError where its model is not here."""
        with self._lock:
            if header.fingerprint in self._loaded:
                self._loaded.move_to_end(header.fingerprint)
                return self._loaded[header.fingerprint]
        if header.fingerprint == FINGERPRINT:
            return self._get(FINGERPRINT, None)
        extra = None if self._model is None or str(self._model) == OVERFITTED else find_model(self._model)
        return self._get(header.fingerprint, find_fingerprint(header.fingerprint, header.model, extra))

    def _get(self, fingerprint: bytes, path: Path | None) -> PictureCodec:
        """The codec of a checkpoint, or without one that whose files need none."""
        with self._lock:
            loading = self._loading.setdefault(fingerprint, Lock())
        with loading:
            with self._lock:
                if fingerprint in self._loaded:
                    self._loaded.move_to_end(fingerprint)
                    return self._loaded[fingerprint]
            codec: PictureCodec = OverfittedCodec(jobs=self._jobs)
            if path is not None:
                codec = Codec(open_engine(path, **self._opening), jobs=self._jobs)
            with self._lock:
                self._loaded[fingerprint] = codec
                while len(self._loaded) > KEPT:
                    self._loaded.popitem(last=False)
            return codec


@dataclass(frozen=True)
class Compressed:
    """What `compress` did. quality: 0 to 100; input_bytes: of the original file; bpp: of the new one."""

    output: Path
    input_bytes: int
    output_bytes: int
    width: int
    height: int
    quality: float
    bpp: float
    notices: tuple[str, ...] = ()


def encode_source(
    source: Path | bytes,
    codec: PictureCodec,
    options: EncodeOptions,
    *,
    name: str | None = None,
    strip: set[str] | frozenset[str] = frozenset(),
    orientation: str = "apply",
    hasher: Hasher | None = None,
) -> tuple[Encoded, tuple[str, ...]]:
    """A picture file, or the bytes of one, encoded -> the new file and notices, also of what went badly.

    Nothing is written. name: what errors call the source. strip: kinds of metadata to leave out (exif, xmp, icc).
    orientation: "apply" turns the picture upright as its Exif says, "keep" leaves pixels and Exif as they are. hasher:
    of the semantic hash that the file carries, none unless given. Raises ImageReadError, UsageError,
    TargetUnreachableError, BitstreamError.
    """
    name = name or str(source)
    original = read_picture(source, name, orientation=orientation, windowed=True)
    picture = original.without(set(strip))
    if original.turned and not picture.turned:
        raise UsageError(f"{name}: the orientation is to be kept, but not the metadata that say it")
    described = hasher.describe(picture.upright_pixels) if hasher else None
    encoded = codec.encode_picture(picture, options, semantic_hash=described)
    size = len(source) if isinstance(source, bytes) else os.stat(source).st_size
    doubts = [doubt(codec, picture, encoded.data)]
    if encoded.fitted < 1.0:
        doubts.append(f"stopped after {encoded.fitted:.0%} of its iterations; all of them would make it smaller")
    if len(encoded.data) > size:
        doubts.append(f"the .aec file is larger than the picture: {len(encoded.data)} bytes for {size}")
    return encoded, (*picture.notices, *(f"{name}: {text}" for text in doubts if text))


def compress(
    source: str | Path,
    target: str | Path | None = None,
    options: EncodeOptions | None = None,
    *,
    model: str | Path | None = None,
    strip: set[str] | frozenset[str] = frozenset(),
    orientation: str = "apply",
    overwrite: bool = False,
    device: str = "cpu",
    codec: PictureCodec | None = None,
    with_hash: bool = True,
    hasher: Hasher | None = None,
    **changes: Any,
) -> Compressed:
    """A picture file -> an .aec file beside it (or at ``target``), written atomically.

    options, changes: as in `Codec.encode_picture`. codec: an already loaded one, instead of ``model`` and ``device``.
    strip, orientation: see `encode_source`. with_hash: carry a semantic hash, about 40 bytes, by which the file is
    found without being decoded; hasher: of which model, the embedded one unless given. Raises ImageReadError,
    OutputExistsError, OutputError, UnknownName, UsageError, TargetUnreachableError.
    """
    asked = EncodeOptions.of(options, changes)
    source = Path(source)
    output = Path(target) if target is not None else source.with_suffix(container.SUFFIX)
    codec = codec or Codecs(model, device=device).named()
    if with_hash and hasher is None:
        from ..hasher import Hasher

        hasher = Hasher.from_pretrained(device=device)
    encoded, notices = encode_source(
        source, codec, asked, strip=strip, orientation=orientation, hasher=hasher if with_hash else None
    )
    write_atomic(output, encoded.data, overwrite=overwrite, sources=[source])
    return Compressed(
        output,
        os.stat(source).st_size,
        len(encoded.data),
        encoded.width,
        encoded.height,
        quality_of(encoded.quality),
        encoded.bpp,
        notices,
    )


def decode_source(
    data: bytes,
    codecs: Codecs,
    crop: tuple[int, int, int, int] | None = None,
    *,
    allow_partial: bool = False,
    windowed: bool = False,
) -> Picture:
    """Bytes of an .aec file -> the picture, or the part (x, y, width, height) of it, in pixels.

    allow_partial: decode what is whole of a damaged file; lost tiles become grey. windowed: see
    `Codec.decode_container`. Raises BitstreamError and its kin, ModelMismatchError, UsageError.
    """
    parsed = container.parse(data, partial=allow_partial)
    return codecs.of(parsed.header).decode_container(parsed, crop_window(crop), windowed=windowed)


def upright_decoder(codecs: Codecs) -> Callable[[bytes], np.ndarray]:
    """Bytes of an .aec file to its pixels, (H, W) or (H, W, 3) uint8, turned upright. Raises as `decode_source`."""

    def decode(data: bytes) -> np.ndarray:
        return decode_source(data, codecs).upright_pixels

    return decode


def decompress(
    source: str | Path,
    target: str | Path | None = None,
    *,
    crop: tuple[int, int, int, int] | None = None,
    allow_partial: bool = False,
    model: str | Path | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    codec: PictureCodec | None = None,
) -> Path:
    """An .aec file -> a picture beside it (PNG, or the format of ``target``'s suffix), written atomically.

    crop, allow_partial: see `decode_source`. codec: an already loaded one, used where the file is of its model.
    """
    source = Path(source)
    output = Path(target) if target is not None else source.with_suffix(".png")
    codecs = Codecs(model, device=device, loaded=[codec] if codec else [])
    picture = decode_source(read_bytes(source), codecs, crop, allow_partial=allow_partial, windowed=True)
    write_picture(picture, output, overwrite=overwrite, sources=[source])
    return output


def verify(source: str | Path, *, full: bool = False, model: str | Path | None = None, device: str = "cpu") -> Header:
    """Check every checksum of a file; with ``full``, decode it as well. Raises BitstreamError and its kin."""
    parsed: Container = container.parse(read_bytes(Path(source)))
    if full:
        Codecs(model, device=device).of(parsed.header).decode_container(parsed)
    return parsed.header
