"""``import aecodec.pillow`` teaches Pillow to open and save .aec files; torch is imported when pixels are wanted."""

from __future__ import annotations

from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from PIL import Image, ImageFile

from .codec.quality import quality_of
from .coding import container
from .coding.container import Container, Header
from .contracts import AecodecError, BitstreamError

if TYPE_CHECKING:
    from .codec.files import Codecs

FORMAT = "AEC"
MIME = "image/x-aec"
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


class AecImageFile(ImageFile.ImageFile):
    """An .aec file: size, mode and metadata when it is opened, pixels when they are first asked for.

    As with Pillow's own formats, a damaged header raises OSError on opening, damaged pixels on loading, unless
    ImageFile.LOAD_TRUNCATED_IMAGES is set: then lost tiles are grey.
    """

    format = FORMAT
    format_description = "aecodec learned image"
    _undecoded = False

    def _open(self) -> None:
        if self.fp is None:
            raise SyntaxError("no file")
        try:
            header, metadata = self._head()
        except AecodecError as error:
            # Not a SyntaxError, Pillow's word for "not a file of mine": it is one, and this is what is wrong with it.
            raise OSError(str(error)) from error
        self._mode, self._size = MODES[header.channels], (header.width, header.height)
        # Imported with the first file, like all that pictures need: registering a format is to cost nothing.
        from .data.metadata import INFO_KEYS, normal

        self.info.update({INFO_KEYS[kind]: block for kind, block in normal(metadata)[0].items()})
        self.info["quality"] = quality_of(header.quality)
        self.info["model"] = header.model
        self._undecoded = True

    def _head(self) -> tuple[Header, dict[str, bytes]]:
        """Header and metadata; of the rest nothing is read but the heads of chunks."""
        try:
            return container.read_metadata(self._file())
        except BitstreamError:
            if not ImageFile.LOAD_TRUNCATED_IMAGES:
                raise
        parsed = self._parse(partial=True)
        return parsed.header, parsed.metadata

    def _file(self) -> BinaryIO:
        """The file, at its beginning."""
        if self.fp is None:
            raise OSError("the file is closed")
        self.fp.seek(0)
        return cast(BinaryIO, self.fp)

    def _parse(self, *, partial: bool) -> Container:
        return container.parse(self._file().read(), partial=partial)

    def load(self) -> Any:
        if self._undecoded:
            from .data.images import to_image

            try:
                parsed = self._parse(partial=ImageFile.LOAD_TRUNCATED_IMAGES)
                codec = _codecs().of(parsed.header)
                # Image.open has held the size against Image.MAX_IMAGE_PIXELS already, in Pillow's own way.
                picture = codec.decode_container(parsed, windowed=True, limited=False)
            except AecodecError as error:
                raise OSError(str(error)) from error
            self.im = to_image(picture).im
            self._undecoded = False
            if self._exclusive_fp and self.fp is not None:
                self.fp.close()
            self.fp = None
        return Image.Image.load(self)

    def verify(self) -> None:
        """Check every checksum. Raises OSError, as Pillow's own formats do."""
        try:
            self._parse(partial=False)
        except AecodecError as error:
            raise OSError(str(error)) from error


@lru_cache(maxsize=1)
def _codecs() -> Codecs:
    """The codecs of the models of files and of ``save``, kept for the next file."""
    from .codec.files import Codecs

    return Codecs()


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """``image.save("x.aec", quality=60)``; also the other fields of EncodeOptions, model, exif, icc_profile and xmp.

    Exif that is no TIFF structure, and what is larger than 16 MiB, is left out with a warning. Raises ValueError for
    options that contradict each other or are out of range, OSError otherwise.
    """
    import warnings
    from dataclasses import fields, replace

    from .codec.options import EncodeOptions
    from .contracts import UsageError
    from .data.images import read_picture
    from .data.metadata import INFO_KEYS, normal

    options: dict[str, Any] = image.encoderinfo
    try:
        picture = read_picture(image, orientation="keep")
        metadata: dict[str, bytes] = dict(picture.metadata)
        for kind, key in INFO_KEYS.items():
            if key in options:
                given = options[key]
                content = given.tobytes() if isinstance(given, Image.Exif) else given
                metadata[kind] = content.encode() if isinstance(content, str) else content or b""
        metadata, left_out = normal(metadata)
        for text in left_out:
            warnings.warn(text, stacklevel=4)
        asked = {field.name: options[field.name] for field in fields(EncodeOptions) if field.name in options}
        codec = _codecs().named(options.get("model"))
        encoded = codec.encode_picture(replace(picture, metadata=metadata), **asked)
    except UsageError as error:
        raise ValueError(str(error)) from error
    except AecodecError as error:
        raise OSError(str(error)) from error
    file.write(encoded.data)


def register() -> None:
    """Make Pillow know the format. Importing this module has done it already; doing it again changes nothing."""
    Image.register_open(FORMAT, AecImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, container.SUFFIX)
    Image.register_mime(FORMAT, MIME)


register()
