"""Reading pictures: every mode Pillow knows, every kind of damage; writing them without losing any."""

import io
import os
import resource
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageCms, ImageOps, TiffImagePlugin

from aecodec.contracts import ImageReadError, PictureTooLargeError, UsageError
from aecodec.data.exif import Directories, Field
from aecodec.data.formats import readable_formats
from aecodec.data.images import Picture, encode_picture, read_picture
from aecodec.data.metadata import orientation_of, upright
from aecodec.data.reduced import read_reduced


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    ramp = np.add.outer(np.arange(size[1]), 4 * np.arange(size[0])).astype(np.uint8)
    return Image.fromarray(np.stack([ramp, 255 - ramp, ramp // 2], axis=2)).convert(mode)


@pytest.mark.parametrize(
    ("mode", "channels", "notice"),
    [
        ("L", 1, ""),
        ("1", 1, ""),
        ("RGB", 3, ""),
        ("P", 3, "palette"),
        ("CMYK", 3, "CMYK"),
        ("YCbCr", 3, "YCbCr"),
        ("LAB", 3, "LAB"),
        ("HSV", 3, "HSV"),
        ("I;16", 1, "I;16"),
        ("I", 1, "8 bits"),
        ("F", 1, "8 bits"),
    ],
)
@pytest.mark.parametrize("windowed", [False, True])
def test_modes_become_grey_or_rgb_and_say_so(mode, channels, notice, windowed):
    image = ImageCms.profileToProfile(gradient(), *LAB) if mode == "LAB" else gradient().convert(mode)
    picture = read_picture(image, windowed=windowed)
    assert picture.channels == channels
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape[:2] == (30, 40)
    assert (notice in "".join(picture.notices)) if notice else not picture.notices
    assert np.array_equal(picture.pixels[7:20, 3:40], np.asarray(picture.pixels)[7:20, 3:40])


LAB = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
LAB = (*LAB, ImageCms.Intent.PERCEPTUAL, "LAB")


def test_sixteen_bits_are_reduced_with_a_notice():
    values = np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40)
    picture = read_picture(encoded(Image.fromarray(values)))
    assert np.array_equal(picture.pixels, np.rint(values / 257.0).astype(np.uint8))
    assert picture.notices


def test_dark_sixteen_bits_stay_dark():
    values = np.full((30, 40), 200, np.uint16)
    assert np.array_equal(read_picture(encoded(Image.fromarray(values))).pixels, np.full((30, 40), 1, np.uint8))


def test_sixteen_bit_colour_is_read_with_a_notice():
    """A PNG of 16-bit RGB, put together here: Pillow reads it and writes none."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    samples = np.arange(4 * 3 * 3, dtype=np.uint16).reshape(4, 9) * 1800
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    data = b"\x89PNG\r\n\x1a\n" + block(b"IHDR", struct.pack(">IIBBBBB", 3, 4, 16, 2, 0, 0, 0))
    picture = read_picture(data + block(b"IDAT", zlib.compress(rows)) + block(b"IEND", b""))
    assert picture.notices == ("image: 16-bit samples were reduced to 8 bits",)
    assert np.abs(picture.pixels.reshape(4, 9) - samples / 257.0).max() <= 1


def test_float_pictures_of_either_range_keep_their_tones():
    ramp = np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40)
    for top in (1.0, 255.0, 65535.0):
        found = read_picture(Image.fromarray(ramp * np.float32(top))).pixels
        assert np.abs(found - np.rint(ramp * 255)).max() <= 1
    holes = ramp.copy()
    holes[3, 3] = np.nan
    assert read_picture(Image.fromarray(holes)).pixels[3, 3] == 0


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("windowed", [False, True])
def test_samples_of_fewer_bits_than_their_file_holds_keep_their_tones(bits, windowed):
    """Where the format does not say the range: TIFF does not, PNG does."""
    ramp = np.linspace(0, 1, 1200).reshape(30, 40)
    values = np.rint(ramp * (2**bits - 1)).astype(np.uint16)
    picture = read_picture(encoded(Image.fromarray(values), "TIFF"), windowed=windowed)
    assert np.abs(np.asarray(picture.pixels) - 255.0 * ramp).max() <= 1
    assert (f"{bits} bits" in picture.notices[0]) == (bits < 16)
    wide = read_picture(encoded(Image.fromarray(values.astype(np.int32) << (24 - bits)), "TIFF"))
    assert np.abs(np.asarray(wide.pixels) - 255.0 * ramp).max() <= 1.5
    assert read_picture(encoded(Image.fromarray(values))).pixels.max() == round(255 * (2**bits - 1) / 65535)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bands", [3, 4])
def test_colours_of_fewer_bits_than_their_file_holds_keep_their_tones(bits, order, bands):
    """A TIFF of 16-bit colours, put together here: Pillow reads its upper bytes and writes none."""
    ramp = np.linspace(0, 1, 40 * 30 * bands).reshape(30, 40, bands)
    ramp[..., 3:] = 1.0
    samples = np.rint(ramp * (2**bits - 1)).astype(order + "u2").tobytes()
    values = {0x0100: 40, 0x0101: 30, 0x0103: 1, 0x0106: 2, 0x0111: 0, 0x0115: bands, 0x0116: 30, 0x0117: len(samples)}
    fields = {tag: Field(4, 1, struct.pack(order + "I", value)) for tag, value in values.items()}
    fields[0x0102] = Field(3, bands, struct.pack(order + "H", 16) * bands)
    if bands == 4:
        fields[0x0152] = Field(3, 1, struct.pack(order + "H", 2))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    fields[0x0111] = Field(4, 1, struct.pack(order + "I", 8 + len(Directories(order, fields).pack(8)[0])))
    picture = read_picture(head + Directories(order, fields).pack(8)[0] + samples)
    scale = 1.0 if bits != 14 else 0.25
    assert np.abs(picture.pixels - 255.0 * scale * ramp[..., :3]).max() <= 1
    assert picture.alpha is None or bits == 14
    assert (f"{bits} bits" in picture.notices[0]) == (bits <= 12)


def test_highlights_of_floats_do_not_darken_the_rest():
    ramp = np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40)
    bright = ramp.copy()
    bright[0, :3] = 400.0, np.inf, np.nan
    found = read_picture(encoded(Image.fromarray(bright), "TIFF")).pixels
    assert np.abs(found[1:] - np.rint(255 * ramp[1:])).max() <= 1
    assert found[0, :3].tolist() == [255, 255, 0]
    assert not read_picture(Image.fromarray(np.full((4, 4), np.nan, np.float32))).pixels.any()


def test_cmyk_goes_through_its_profile():
    """A profile by which paper is white and full cyan is red, which no formula would guess."""
    white, red, black = (255, 128, 128), (138, 208, 195), (0, 128, 128)
    corners = b"".join(bytes(black if number & 1 else red if number & 8 else white) for number in range(16))
    straight = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + struct.pack(">9i", *(65536 * (i in (0, 4, 8)) for i in range(9)))
    table += 4 * straight + corners + 3 * straight
    head = struct.pack(">I4sI4s4s4s", 144 + len(table), b"none", 0x02100000, b"prtr", b"CMYK", b"Lab ")
    head = head.ljust(36, b"\0") + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    profile = head.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table
    image = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    picture = read_picture(encoded(image, "TIFF", icc_profile=profile))
    assert np.abs(picture.pixels[0, 0].astype(int) - (255, 0, 0)).max() <= 12
    assert picture.metadata == {}
    assert "through its profile" in picture.notices[0]
    for other in (b"no profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        picture = read_picture(encoded(image, "TIFF", icc_profile=other))
        assert picture.pixels[0, 0].tolist() == [0, 255, 255]
        assert "without its profile" in picture.notices[0]


def test_nothing_that_is_a_program_is_opened(tmp_path, monkeypatch):
    """EPS is run by Ghostscript, whatever the file is called; a stand-in for it would leave a trace."""
    trace = tmp_path / "ran"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {trace}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    path = tmp_path / "a.png"
    gradient().save(path, "EPS")
    with pytest.raises(ImageReadError, match="not a picture in a format"):
        read_picture(path)
    with pytest.raises(ImageReadError):
        read_reduced(path, 8)
    assert not trace.exists()
    assert not {"EPS", "IPTC", "WMF", "MPEG", "PDF"} & set(readable_formats())


def test_animated_pictures_give_their_first_frame_with_a_notice():
    frames = [gradient("L"), gradient("L").transpose(Image.Transpose.ROTATE_180)]
    picture = read_picture(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert any("first of 2 frames" in text for text in picture.notices)
    assert np.abs(picture.pixels[..., 0].astype(int) - np.asarray(frames[0])).max() <= 1


def test_a_damaged_second_frame_costs_nothing_of_the_first():
    data = bytearray(encoded(gradient(), "TIFF"))
    fields = int.from_bytes(data[8:10], "little")
    data[10 + 12 * fields : 14 + 12 * fields] = struct.pack("<I", len(data))
    data += struct.pack("<HHHIII", 1, 0x0103, 3, 1, 1, 0)
    assert np.array_equal(read_picture(bytes(data)).pixels, np.asarray(gradient()))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_kept_where_it_is_used_and_dropped_where_it_is_not(mode):
    image = gradient(mode)
    assert read_picture(image).alpha is None
    image.putalpha(gradient("L"))
    picture = read_picture(encoded(image))
    assert picture.channels == len(mode)
    assert np.array_equal(picture.alpha, np.asarray(gradient("L")))
    back = read_picture(encode_picture(picture, ".png")[0])
    assert np.array_equal(back.alpha, picture.alpha)
    with pytest.raises(UsageError, match="transparency"):
        encode_picture(picture, ".jpg")


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_alpha_is_alpha(mode):
    image = gradient("LA" if mode == "La" else "RGBA")
    image.putalpha(128)
    picture = read_picture(image.convert(mode))
    assert (picture.alpha == 128).all()
    assert np.abs(picture.pixels.astype(int) - np.asarray(gradient("L" if mode == "La" else "RGB"))).max() <= 1


def test_palette_transparency_becomes_alpha():
    image = gradient("P")
    picture = read_picture(encoded(image, transparency=int(np.asarray(image)[0, 0])))
    assert picture.channels == 4
    assert picture.alpha[0, 0] == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("windowed", [False, True])
def test_every_orientation_is_undone_as_pillow_undoes_it(orientation, windowed):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a description"
    xmp = b'<rdf:Description tiff:Orientation="%d" other="6"/>' % orientation
    data = (
        encoded(gradient("RGBA"), "PNG", exif=exif)
        if orientation % 2
        else encoded(gradient(), "JPEG", exif=exif, xmp=xmp)
    )
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    picture = read_picture(data, windowed=windowed)
    assert np.array_equal(np.asarray(picture.pixels), np.asarray(upright))
    assert np.array_equal(picture.pixels[5:20, 8:23], np.asarray(upright)[5:20, 8:23])
    assert not picture.turned
    back = Image.open(io.BytesIO(encode_picture(picture, ".jpg")[0]))
    assert back.getexif()[0x0112] == 1
    assert back.getexif()[0x010E] == "a description"
    if "xmp" in picture.metadata:
        assert picture.metadata["xmp"] == b'<rdf:Description tiff:Orientation="1" other="6"/>'
    kept = read_picture(data, orientation="keep", windowed=windowed)
    assert kept.turned == (orientation != 1)
    assert kept.pixels.shape == (30, 40, 3)
    assert kept.metadata["exif"] == Image.open(io.BytesIO(data)).info["exif"]


def test_alpha_is_turned_with_the_colours():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = gradient("RGBA")
    image.putalpha(gradient("L"))
    picture = read_picture(encoded(image, "PNG", exif=exif))
    assert np.array_equal(picture.alpha, np.rot90(np.asarray(gradient("L")), -1))


def test_a_format_without_exif_gets_the_picture_upright_and_a_notice():
    exif = Image.Exif()
    exif[0x0112] = 8
    kept = read_picture(encoded(gradient(), "PNG", exif=exif), orientation="keep")
    data, notices = encode_picture(kept, ".bmp")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.rot90(np.asarray(gradient())))
    assert any("exif" in text for text in notices)


def test_a_format_without_xmp_gets_the_picture_upright_and_a_notice():
    packet = b'<rdf:Description tiff:Orientation="8"/>'
    kept = read_picture(encoded(gradient(), "WEBP", xmp=packet, lossless=True), orientation="keep")
    data, notices = encode_picture(kept, ".bmp")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.rot90(np.asarray(gradient())))
    assert any("xmp" in text for text in notices)


def test_garbled_exif_turns_nothing_and_is_not_changed():
    for exif in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"rubbish"):
        assert upright({"exif": exif})["exif"].removeprefix(b"Exif\0\0") == exif.removeprefix(b"Exif\0\0")
        assert orientation_of({"exif": exif}) == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_icc_exif_and_xmp_come_through_every_format_that_holds_them(suffix):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    metadata = {"icc": profile, "exif": b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0"), "xmp": b"<x:xmpmeta/>"}
    data, notices = encode_picture(Picture(np.asarray(gradient()), metadata), suffix)
    back = Image.open(io.BytesIO(data))
    assert notices == ()
    assert back.info["icc_profile"] == profile
    assert back.info["xmp"] == b"<x:xmpmeta/>"
    assert back.getexif()[0x010E] == "a description"


def test_profiles_travel():
    data = encoded(gradient(), icc_profile=b"a profile")
    assert Image.open(io.BytesIO(encode_picture(read_picture(data), ".png")[0])).info["icc_profile"] == b"a profile"


@pytest.mark.parametrize("cut", [1, 8, 20, 33, 60, 80])
def test_truncated_png_is_named(cut):
    with pytest.raises(ImageReadError):
        read_picture(encoded(gradient())[:cut], "photo.png")


def test_what_is_no_picture_is_named(tmp_path):
    for content in (b"hello", b"\0" * 100, b""):
        path = tmp_path / "x.png"
        path.write_bytes(content)
        with pytest.raises(ImageReadError, match=r"x\.png"):
            read_picture(path)
    with pytest.raises(ImageReadError, match="directory"):
        read_picture(tmp_path)
    with pytest.raises(ImageReadError, match="no such file"):
        read_picture(tmp_path / "none.png")


def test_pixel_limit_is_honoured(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageReadError):
        read_picture(encoded(gradient()))


def stretched(kind: str, width: int, height: int) -> bytes:
    """A file of a small picture that claims other sides."""
    buffer = io.BytesIO()
    Image.new("RGB", (3, 5)).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    if kind == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "PPM":
        data = data.replace(b"3 5", b"%d %d" % (width, height))
    else:
        for at, side in zip((8 + 2, 8 + 2 + 12), (width, height), strict=True):
            struct.pack_into("<HHII", data, at, 256 + (at > 10), 4, 1, side)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_a_column_of_pixels_is_refused_before_memory_is_taken_for_its_rows(kind):
    """Pillow keeps a pointer to each row: a file of 100 bytes would cost hundreds of megabytes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PictureTooLargeError, match="1 x 60000000 pixels, a row counted as 16, exceed"):
        read_picture(stretched(kind, 1, 60_000_000), "x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    with pytest.raises(ImageReadError, match="truncated"):
        read_picture(stretched(kind, 60_000, 17), "x")


@pytest.mark.parametrize("kind", ["ICO", "CUR", "ICNS"])
@pytest.mark.parametrize("inner", ["PNG", "JPEG2000"])
def test_a_column_of_pixels_inside_an_icon_is_refused(kind, inner):
    if inner == "PNG":
        picture = stretched("PNG", 1, 60_000_000)
    else:
        picture = encoded(Image.new("RGB", (3, 5)), "JPEG2000")
        place = picture.index(b"ihdr") + 4
        picture = picture[:place] + struct.pack(">II", 60_000_000, 1) + picture[place + 8 :]
    if kind == "ICNS":
        data = b"icns" + struct.pack(">I", 16 + len(picture)) + b"ic07" + struct.pack(">I", 8 + len(picture)) + picture
    else:
        data = struct.pack("<HHH4BHHII", 0, 2 if kind == "CUR" else 1, 1, 1, 1, 0, 0, 1, 32, len(picture), 22) + picture
    with pytest.raises(PictureTooLargeError, match="1 x 60000000 pixels, a row counted as 16, exceed"):
        read_picture(data, "x")


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_samples_become_levels_a_few_rows_at_a_time(mode):
    values = np.random.default_rng(3).integers(0, 65536, (1500, 1000))
    image = Image.fromarray(values.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    tracemalloc.start()
    try:
        pixels = read_picture(image).pixels
        assert tracemalloc.get_traced_memory()[1] < 8 * values.size * 2
    finally:
        tracemalloc.stop()
    assert np.array_equal(pixels, np.rint(255.0 * (values / 65535)).astype(np.uint8))


def test_libraries_warn_of_nothing_that_a_file_holds():
    """A palette's transparency, the end of a format, tags that Pillow reads once more on loading."""
    palette = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("P")
    frames = [Image.new("L", (4, 4), level) for level in (1, 2)]
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x0112] = 1
    several = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:], tiffinfo=tags)
    orientation = struct.pack("<HHI", 0x0112, 3, 1)
    assert several.count(orientation) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        files = [encoded(palette, transparency=bytes(range(256))), encoded(frames[0], "IM")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in (*files, several.replace(orientation, struct.pack("<HHI", 0x0112, 3, 2))):
            assert read_picture(data).pixels.ndim


def test_a_suffix_without_a_writer_is_a_usage_error():
    with pytest.raises(UsageError):
        encode_picture(Picture(np.zeros((2, 2), np.uint8)), ".xyz")


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [(28, 7, "a kind of picture that is not supported"), (30, 5, "a kind of picture that is not supported")],
    ids=["depth", "compression"],
)
def test_what_is_not_supported_is_not_called_damaged(place, value, words):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "BMP")
    data = bytearray(buffer.getvalue())
    data[place] = value
    with pytest.raises(ImageReadError, match=f"x: {words}"):
        read_picture(bytes(data), "x")
    with pytest.raises(ImageReadError, match="x: damaged or truncated"):
        read_picture(buffer.getvalue()[:-30], "x")


def test_paths_and_arrays_are_pictures(tmp_path):
    pixels = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for source in (pixels, tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()):
        assert np.array_equal(read_picture(source).pixels, pixels)
    assert read_picture(pixels[..., 0]).channels == 1


@pytest.mark.parametrize(
    "source",
    [np.zeros((6, 5, 3)), np.zeros((6, 5, 4), np.uint8), np.zeros(6, np.uint8), np.zeros((0, 5), np.uint8), 3, None],
)
def test_what_is_no_picture_is_said_to_be_none(source):
    with pytest.raises(UsageError):
        read_picture(source)
