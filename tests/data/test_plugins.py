"""HEIC and JPEG XL, through the plug-ins of the extra: read as PNG is, refused as PNG is, and named where they lack."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from conftest import natural_picture
from extras import needs
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from aecodec.contracts import ImageReadError, PictureTooLargeError, UsageError
from aecodec.data import plugins
from aecodec.data.folders import Walk, list_photos
from aecodec.data.formats import picture_suffixes, readable_formats
from aecodec.data.images import read_picture, require_writer
from aecodec.data.jxl import CONTAINER, Head, parse_head, read_head, scan_jxl
from aecodec.data.metadata import orientation_of
from aecodec.data.reduced import read_reduced

HEIF = pytest.param("HEIF", marks=needs("pillow_heif"))
JXL = pytest.param("JXL", marks=needs("pillow_jxl"))
FORMATS = pytest.mark.parametrize("format", [HEIF, JXL])
LOSSLESS = {
    "HEIF": {"quality": -1, "chroma": 444, "matrix_coefficients": 0},
    "JXL": {"lossless": True, "effort": 3},
    "PNG": {},
}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><x>a title</x></x:xmpmeta>'


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    readable_formats()
    buffer = io.BytesIO()
    image.copy().save(buffer, format, **LOSSLESS[format], **options)
    return buffer.getvalue()


def colour(mode: str = "RGB") -> Image.Image:
    pixels = np.dstack([natural_picture(36, 52, 3), np.tile(np.arange(52, dtype=np.uint8) * 4, (36, 1))])
    return Image.fromarray(pixels).convert(mode)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = orientation, "maker"
    return tags.tobytes()


@lru_cache  # a profile says when it was made
def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@FORMATS
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pixels_and_alpha_are_those_of_a_png(format, mode, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(encoded(colour(mode), format))
    found, known = read_picture(path), read_picture(encoded(colour(mode), "PNG"))
    assert np.array_equal(found.pixels, known.pixels)
    assert found.channels == known.channels
    assert found.alpha is None if known.alpha is None else np.array_equal(found.alpha, known.alpha)
    assert (found.metadata, found.notices) == ({}, ())
    small, whole = read_reduced(path, 12), read_reduced(encoded(colour(mode), "PNG"), 12)
    assert (small.width, small.height) == (52, 36)
    assert np.array_equal(small.pixels, whole.pixels)


@needs("pillow_heif")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_turned_and_its_metadata_are_in_normal_form(orientation):
    said = {"exif": exif(orientation), "icc_profile": profile(), "xmp": XMP}
    found = read_picture(encoded(colour(), "HEIF", **said))
    png = io.BytesIO()
    colour().save(png, "PNG", exif=exif(orientation), icc_profile=profile())
    known = read_picture(png.getvalue())
    assert np.array_equal(found.pixels, known.pixels)
    assert found.metadata == {**known.metadata, "xmp": XMP}
    kept = read_picture(encoded(colour(), "HEIF", **said), orientation="keep")
    assert np.array_equal(kept.pixels, known.pixels)  # the decoder turns it, whatever is asked
    assert orientation_of(kept.metadata) == 1


@needs("pillow_jxl")
def test_jpeg_xl_has_its_metadata_and_no_orientation_of_exif():
    """Its codestream alone says how it is turned."""
    found = read_picture(encoded(colour(), "JXL", exif=exif(6), xmp=XMP))
    assert np.array_equal(found.pixels, np.asarray(colour()))
    png = io.BytesIO()
    colour().save(png, "PNG", exif=exif(1))
    assert found.metadata == {**read_picture(png.getvalue()).metadata, "xmp": XMP}
    packed = read_picture(encoded(colour(), "JXL", exif=exif(1), xmp=20 * XMP, compress_metadata=True))
    assert packed.notices == ("image: left out: compressed Exif, compressed XMP",)


@needs("pillow_jxl")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_inside_jpeg_xl_is_read_as_the_jpeg(orientation, tmp_path):
    jpeg = tmp_path / "a.jpg"
    colour().save(jpeg, exif=exif(orientation), icc_profile=profile(), quality=90)
    readable_formats()
    with Image.open(jpeg) as image:
        image.save(tmp_path / "a.jxl", lossless_jpeg=True)
    for how in ("apply", "keep"):
        known, found = read_picture(jpeg, orientation=how), read_picture(tmp_path / "a.jxl", orientation=how)
        assert np.array_equal(found.pixels, known.pixels)
        assert found.metadata == known.metadata
        assert not found.notices


@needs("pillow_heif")
def test_deep_heic_says_that_it_was_reduced():
    import pillow_heif

    values = np.linspace(0, 65535, 36 * 52 * 3).astype(np.uint16)
    buffer = io.BytesIO()
    deep = pillow_heif.from_bytes(mode="RGB;16", size=(52, 36), data=values.tobytes())
    deep.save(buffer, **LOSSLESS["HEIF"])
    found = read_picture(buffer.getvalue())
    assert found.notices == ("image: 10-bit samples were reduced to 8 bits",)
    assert np.abs(found.pixels.ravel() - values / 257.0).max() <= 1


@needs("pillow_jxl")
def test_deep_jpeg_xl_says_that_it_was_reduced():
    values = np.linspace(0, 65535, 36 * 52).astype(np.uint16).reshape(36, 52)
    found = read_picture(encoded(Image.fromarray(values), "JXL"))
    assert "reduced to 8 bits" in found.notices[0]
    assert np.abs(found.pixels - values / 257.0).max() <= 1


@FORMATS
def test_every_truncated_file_is_a_picture_or_a_named_error(format, capfd):
    data = encoded(colour("RGBA"), format, exif=exif(6))
    outcomes = set()
    for length in range(0, len(data), max(1, len(data) // 60)):
        try:
            outcomes.add(str(read_picture(data[:length], "a").pixels.shape[2:]))
        except ImageReadError as error:
            outcomes.add(str(error)[:3])
    assert "a: " in outcomes
    assert outcomes <= {"a: ", "(3,)"}
    assert capfd.readouterr() == ("", "")


@FORMATS
def test_a_picture_above_the_limit_is_refused_before_it_is_decoded(format, monkeypatch):
    data = encoded(colour(), format)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 52 * 36 - 1)
    with pytest.raises(PictureTooLargeError, match="exceed the limit of 1871"):
        read_picture(data)


@FORMATS
def test_they_are_read_and_not_written(format):
    readable_formats()
    for suffix in (".heic", ".jxl"):
        with pytest.raises(UsageError, match="no picture format that can be written"):
            require_writer(suffix)


@FORMATS
def test_they_are_found_in_folders(format, tmp_path):
    suffix = {"HEIF": ".HEIC", "JXL": ".jxl"}[format]
    (tmp_path / f"a{suffix}").write_bytes(encoded(colour(), format))
    assert list_photos(tmp_path) == [tmp_path / f"a{suffix}"]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the extra."""
    kept = [name for name in Image.ID if name not in plugins.FORMATS]
    monkeypatch.setattr(Image, "ID", kept)
    monkeypatch.setattr(plugins, "find_spec", lambda name: None)


HEADS = {
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(40), "pillow-heif"),
    "JPEG XL": (CONTAINER + bytes(40), "pillow-jxl-plugin"),
}


@pytest.mark.parametrize("title", HEADS)
def test_without_the_extra_a_line_names_it(bare, title, tmp_path):
    head, package = HEADS[title]
    with pytest.raises(ImageReadError) as refused:
        read_picture(head, "a")
    advice = "pip install 'aecodec[formats]'"
    assert str(refused.value) == f"a: a {title} picture, which the package {package} reads: {advice}"
    assert not {".heic", ".jxl"} & picture_suffixes()
    for name in ("a.heic", "b.heic", "c.jxl"):
        (tmp_path / name).write_bytes(head)
    walk = Walk(picture_suffixes())
    assert not walk.files(tmp_path)
    assert walk.summary == f"3 files passed over (2 .heic, 1 .jxl; for .heic and .jxl: {advice})"
    others = Walk({".aec"})
    assert not others.files(tmp_path)
    assert "pip" not in others.summary


def test_a_package_that_cannot_be_imported_counts_as_none(bare, monkeypatch):
    monkeypatch.setattr(plugins, "find_spec", lambda name: object())
    monkeypatch.setattr(plugins, "_tried", set())

    def broken(name: str) -> None:
        raise OSError("libheif.so: cannot open shared object file")

    monkeypatch.setattr(plugins.importlib, "import_module", broken)
    with pytest.raises(ImageReadError, match=r"a HEIC picture, which the package pillow-heif reads"):
        read_picture(HEADS["HEIC"][0], "a")


# -- the head of a codestream, by a writer of our own ----------------------------------------------


class Writer:
    """Bit fields as the standard writes them."""

    def __init__(self) -> None:
        self.bits: list[int] = []

    def put(self, value: int, count: int) -> None:
        self.bits += [value >> place & 1 for place in range(count)]

    def side(self, value: int) -> None:
        """In the shortest form of a side in pixels."""
        form, count = next((form, count) for form, count in enumerate((9, 13, 18, 30)) if value <= 1 << count)
        self.put(form, 2)
        self.put(value - 1, count)

    def size(self, width: int, height: int, eighths: bool, ratio: int) -> None:
        self.put(eighths, 1)
        for number, side in enumerate((height, width)):
            if number and ratio:
                break
            if eighths:
                self.put(side // 8 - 1, 5)
            else:
                self.side(side)
            if not number:
                self.put(ratio, 3)

    @property
    def data(self) -> bytes:
        return b"\xff\x0a" + np.packbits(self.bits, bitorder="little").tobytes()


RATIOS = {1: 1.0, 2: 1.2, 3: 4 / 3, 4: 1.5, 5: 16 / 9, 6: 1.25, 7: 2.0}


@given(
    height=st.integers(1, 1 << 30), width=st.integers(1, 1 << 30), ratio=st.integers(0, 7),
    orientation=st.integers(1, 8), animated=st.booleans(), bits=st.integers(1, 31), intrinsic=st.booleans(),
    eighths=st.booleans(),
)  # fmt: skip
def test_heads_are_parsed_as_they_are_written(height, width, ratio, orientation, animated, bits, intrinsic, eighths):
    if eighths:
        height, width = 8 * (height % 32 + 1), 8 * (width % 32 + 1)
    writer = Writer()
    writer.size(width, height, eighths, ratio)
    writer.put(0b10, 2)  # not all default; more fields
    writer.put(orientation - 1, 3)
    writer.put(intrinsic, 1)
    if intrinsic:
        writer.size(77, 55, False, 0)
    writer.put(0, 1)
    writer.put(animated, 1)
    if animated:
        for form in (0, 0, 0):
            writer.put(form, 2)
        writer.put(0, 1)
    writer.put(0, 1)
    writer.put(3, 2)
    writer.put(bits - 1, 6)
    known = int(height * RATIOS[ratio] + 1e-9) if ratio else width
    found = parse_head(writer.data + bytes(8))
    assert abs(found.width - known) <= (1 if ratio and known > 1 << 29 else 0)
    assert found == Head(found.width, height, orientation, animated, bits)


def test_sides_beyond_the_limit_are_refused_whatever_decodes():
    writer = Writer()
    writer.size(1 << 30, 1 << 30, False, 0)
    writer.put(1, 1)
    for data in (writer.data, CONTAINER + b"\0\0\0\x20jxlc" + writer.data + bytes(40)):
        with pytest.raises(PictureTooLargeError, match=f"{1 << 30} x {1 << 30}"):
            read_picture(data)


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_have_a_head_or_none(data, boxed):
    stream = io.BytesIO((CONTAINER if boxed else b"\xff\x0a") + data)
    head = read_head(stream)
    assert head is None or head.width > 0
    scan_jxl(stream)


@needs("pillow_jxl")
@pytest.mark.parametrize("size", [(8, 8), (64, 48), (256, 256), (333, 500), (1000, 20)])
def test_heads_of_real_files(size, tmp_path):
    path = Path(tmp_path / "a.jxl")
    path.write_bytes(encoded(Image.new("RGB", size), "JXL"))
    with path.open("rb") as file:
        head = read_head(file)
    assert head is not None
    assert (head.width, head.height, head.orientation, head.animated, head.bits) == (*size, 1, False, 8)
