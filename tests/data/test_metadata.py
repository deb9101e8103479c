"""Metadata in one normal form: whatever a picture came in, its pixels are read, and what a container holds is kept."""

import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from aecodec.contracts import MAX_METADATA
from aecodec.data import jpeg
from aecodec.data.exif import (
    DESCRIPTIVE,
    EXIF,
    GPS,
    INTEROPERABILITY,
    MAKER_NOTE,
    Directories,
    Field,
    exif_directories,
    normal_exif,
    read_directories,
    with_orientation,
)
from aecodec.data.images import Picture, encode_picture, read_picture
from aecodec.data.metadata import normal, orientation_of, upright
from aecodec.data.xmp import extension_of, joined, split

HOLDERS = [".png", ".jpg", ".webp", ".tif", ".avif"]
PIXELS = np.add.outer(np.arange(24), 5 * np.arange(40))[..., None].repeat(3, 2).astype(np.uint8)
ACME = Field(2, 5, b"ACME\0")
XMP_MARKER = b"http://ns.adobe.com/xap/1.0/\0"
SHORT_6 = Field(3, 1, b"\6\0")


def exif(main: dict[int, Field], children: dict[int, dict[int, Field]] | None = None) -> bytes:
    return Directories("<", main, children or {}).block()


def packet(inner: bytes) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        + inner
        + b"</rdf:RDF></x:xmpmeta>"
    )


def saved(kind: str, image: Image.Image | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(buffer, kind, **options)
    return buffer.getvalue()


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with more chunks behind its header."""
    data = saved("PNG")
    added = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return data[:33] + added + data[33:]


def with_segments(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG with more segments at its beginning."""
    data = saved("JPEG")
    added = b"".join(struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content for marker, content in segments)
    return data[:2] + added + data[2:]


# -- orientation ---------------------------------------------------------------------------------


ORIENTATION_FIELDS = {
    "SHORT": SHORT_6,
    "LONG": Field(4, 1, b"\6\0\0\0"),
    "SSHORT": Field(8, 1, b"\6\0"),
    "BYTE": Field(1, 1, b"\6"),
    "two": Field(3, 2, b"\6\0\1\0"),
    "two LONGs": Field(4, 2, b"\6\0\0\0\1\0\0\0"),
}
BLOCKS = {name: exif({0x0112: field}) for name, field in ORIENTATION_FIELDS.items()}
BLOCKS["doubled prefix"] = b"Exif\0\0" + BLOCKS["SHORT"]
BLOCKS["odd header"] = BLOCKS["SHORT"].replace(b"II*\0", b"II\0*")
PACKETS = {
    "attribute": b'<rdf:Description tiff:Orientation="6"/>',
    "spaces": b"<rdf:Description tiff:Orientation = ' 6 '/>",
    "element": b"<rdf:Description><tiff:Orientation>\n6\n</tiff:Orientation></rdf:Description>",
    "other prefix": b'<rdf:Description xmlns:t="http://ns.adobe.com/tiff/1.0/" t:Orientation="6"/>',
}


def jpeg_of(metadata: dict[str, bytes]) -> bytes:
    segments = [(0xE1, metadata["exif"])] if "exif" in metadata else []
    return with_segments(*segments, *((0xE1, XMP_MARKER + block) for kind, block in metadata.items() if kind == "xmp"))


@pytest.mark.parametrize(
    "metadata",
    [{"exif": block} for block in BLOCKS.values()] + [{"xmp": packet(inner)} for inner in PACKETS.values()],
    ids=[*BLOCKS, *PACKETS],
)
@pytest.mark.parametrize("suffix", [*HOLDERS, ".bmp"])
def test_a_picture_is_turned_once_whoever_looks(metadata, suffix):
    """Turned when it is read, or by whoever reads what we wrote: ourselves, and Pillow as a viewer."""
    data = jpeg_of(metadata)
    wanted = np.rot90(read_picture(saved("JPEG")).pixels, -1)
    applied = read_picture(data)
    assert np.array_equal(applied.pixels, wanted)
    kept = read_picture(data, orientation="keep")
    assert kept.turned
    for picture in (applied, kept):
        written, _ = encode_picture(picture, suffix)
        again = read_picture(written)
        assert not again.turned
        assert np.abs(again.pixels.astype(int) - wanted).mean() < 3
    viewer = ImageOps.exif_transpose(Image.open(io.BytesIO(encode_picture(applied, suffix)[0])))
    assert viewer.size == (24, 40)


#: Packets that Pillow's pattern finds an orientation in -> the one that is ours: 0 where we find none that is valid,
#: or the packet is left out.
DISPUTED = {
    b'<rdf:Description tiff:Orientation="6/x:xmpmeta>': 0,
    b'<rdf:Description tiff:Orientation="62"/>': 0,
    b"<rdf:Description>tiff:Orientation>6 </rdf:Description>": 0,
    b'<rdf:Description xtiff:Orientation="6"/>': 0,
    b'<rdf:Description tiff:Orientation="0" b:tiff:Orientation="6"/>': 0,
    b'<a xmlns:t="http://ns.adobe.com/tiff/1.0/" t:Orientation="3" tiff:Orientation="6"/>': 3,
    b"<rdf:Description tiff:Orientation = '3' tiff:Orientation=\"1\"/>": 3,
    b'<a xmlns:6="http://ns.adobe.com/tiff/1.0/" tiff:Orientation>6:Orientation="3"/>': 0,
}


@pytest.mark.parametrize(("xmp", "ours"), DISPUTED.items())
@pytest.mark.parametrize("orientation", ["apply", "keep"])
@pytest.mark.parametrize("suffix", HOLDERS)
def test_nobody_turns_a_picture_by_xmp_that_we_read_otherwise(xmp, ours, orientation, suffix):
    data = jpeg_of({"xmp": xmp})
    plain = read_picture(saved("JPEG")).pixels
    shown = np.rot90(plain, 2) if ours == 3 else plain
    picture = read_picture(data, orientation=orientation)
    if "xmp" in picture.metadata:
        assert np.array_equal(picture.upright_pixels, shown)
        assert orientation == "apply" or orientation_of(picture.metadata) == (ours or 1)
    else:
        assert "XMP" in "".join(picture.notices)
    written, _ = encode_picture(Picture(plain, {"xmp": xmp}), suffix)
    with Image.open(io.BytesIO(written)) as image:
        seen = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    again = read_picture(written)
    assert seen.shape == again.pixels.shape == plain.shape
    assert np.abs(seen.astype(int) - again.pixels).mean() < 3
    assert np.abs(again.pixels.astype(int) - shown).mean() < 3


@given(
    st.lists(
        st.sampled_from(
            (
                *(b"tiff:Orientation", b'="', b">", b"<", b"6", b"3", b"1", b"9", b"0", b'"', b"'", b" "),
                *(b"t:Orientation=", b"6:Orientation='", b'xmlns:6="http://ns.adobe.com/tiff/1.0/"'),
            )
        ),
        max_size=12,
    ).map(b"".join)
)
def test_normal_xmp_is_read_as_pillow_reads_it(xmp):
    metadata, notices = normal({"xmp": xmp})
    assert bool(notices) == (metadata.get("xmp", b"") != xmp)
    assert normal(metadata) == (metadata, ())
    image = Image.new("L", (1, 1))
    image.info["xmp"] = metadata.get("xmp", b"")
    assert image.getexif().get(0x0112) in (None, 0, 9, 1, orientation_of(metadata))
    assert orientation_of(upright(metadata)) == 1
    assert normal(upright(metadata)) == (upright(metadata), ())


@given(st.binary(max_size=200), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08"]))
def test_upright_blocks_are_upright_and_turn_back_to_themselves(tail, head):
    metadata = {"exif": head + tail, "xmp": tail}
    once = upright(metadata)
    assert orientation_of(once) == 1
    assert upright(once) == once


# -- what comes in -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", HOLDERS)
@pytest.mark.parametrize("origin", HOLDERS)
def test_metadata_go_from_every_container_to_every_other(origin, suffix):
    block = exif({0x010F: ACME, 0x0112: Field(3, 1, b"\1\0")}, {EXIF: {0x9003: Field(2, 20, b"2020:01:02 03:04:05\0")}})
    metadata = {"exif": block, "xmp": packet(b"<rdf:Description/>"), "icc": b"a profile that nobody checks"}
    first, notices = encode_picture(Picture(PIXELS, metadata), origin)
    assert notices == ()
    second, notices = encode_picture(read_picture(first), suffix)
    assert notices == ()
    found = read_picture(second).metadata
    assert found["xmp"] == metadata["xmp"]
    assert found["icc"] == metadata["icc"]
    directories = exif_directories(found["exif"])
    assert directories.main[0x010F] == ACME
    assert directories.children[EXIF][0x9003].data == b"2020:01:02 03:04:05\0"
    as_pillow = Image.open(io.BytesIO(second)).getexif()
    assert as_pillow[0x010F] == "ACME"
    assert as_pillow.get_ifd(EXIF)[0x9003] == "2020:01:02 03:04:05"


def raw_profile(name: str, content: bytes) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text(f"Raw profile type {name}", f"\n{name}\n{len(content):8}\n{content.hex()}\n", zip=True)
    return info


@pytest.mark.parametrize(
    ("name", "kind", "content"),
    [
        ("exif", "exif", exif({0x010F: ACME})),
        ("APP1", "exif", exif({0x010F: ACME})),
        ("APP1", "xmp", XMP_MARKER + packet(b"")),
        ("xmp", "xmp", packet(b"")),
        ("icc", "icc", b"a profile"),
    ],
)
def test_profiles_as_text_are_read(name, kind, content):
    found = read_picture(saved("PNG", pnginfo=raw_profile(name, content))).metadata
    assert found == {kind: content.removeprefix(XMP_MARKER)}
    assert read_picture(with_chunks((b"tEXt", b"exif\0" + exif({0x010F: ACME})))).metadata == {
        "exif": exif({0x010F: ACME})
    }
    opened = Image.open(io.BytesIO(saved("PNG", pnginfo=raw_profile("exif", exif({0x010F: ACME})))))
    assert read_picture(opened).metadata == {"exif": exif({0x010F: ACME})}


def test_tiff_says_what_it_says_of_the_picture_and_nothing_of_its_structure():
    main = {0x010F: ACME, 0x0112: SHORT_6}
    dated = exif(main, {EXIF: {0x9003: Field(2, 20, b"2020:01:02 03:04:05\0")}})
    for data in (saved("TIFF", exif=dated), saved("TIFF", exif=exif(main), compression="tiff_lzw")):
        picture = read_picture(data)
        assert picture.pixels.shape == (40, 24, 3)
        found = exif_directories(picture.metadata["exif"])
        assert set(found.main) <= DESCRIPTIVE
        assert found.main[0x010F] == ACME
        assert (EXIF in found.children) == (data[:8] == b"II*\0\x08\0\0\0" and b"03:04:05" in data)
        assert orientation_of(picture.metadata) == 1
        assert read_picture(Image.open(io.BytesIO(data))).metadata.keys() == {"exif"}


def test_big_tiff_and_the_other_byte_order_are_read():
    for header, first in ((b"MM\0*\0\0\0\x08", ">"), (b"MM\0+\0\x08\0\0" + struct.pack(">Q", 16), ">")):
        wide = len(header) > 8
        fields = struct.pack(first + ("QHHQ" if wide else "HHHI"), 1, 0x0112, 3, 1) + b"\0\6" + bytes(6 if wide else 2)
        found = read_directories(io.BytesIO(header + fields + bytes(8)))
        assert found.orientation == 6
        assert found.little().main[0x0112] == SHORT_6


def test_exif_that_goes_on_in_a_second_segment_is_one_block():
    block = exif({0x010F: Field(2, 70000, b"A" * 69999 + b"\0")})
    data = with_segments((0xE1, block[:60000]), (0xE1, b"Exif\0\0" + block[60000:]))
    assert read_picture(data).metadata == {"exif": block}


def test_what_begins_no_segment_is_passed_over_between_segments():
    plain, block = saved("JPEG"), exif({0x010F: ACME})
    for junk in (b"\0", b"\xff\xff\xff", b"x" * 300, b"\xff\0\xff\0"):
        picture = read_picture(plain[:2] + with_segments((0xE1, block))[2 : 6 + len(block)] + junk + plain[2:])
        assert picture.metadata == {"exif": block}
        assert np.array_equal(picture.pixels, read_picture(plain).pixels)


def test_extended_xmp_is_joined_and_split_again():
    main = b'<rdf:Description xmlns:xmpNote="http://ns.adobe.com/xmp/note/" a="1"'
    extension = packet(b"<rdf:Description>" + b"x" * 70000 + b"</rdf:Description>")
    name = extension_of(split(extension)[0]).encode()
    whole = joined(packet(main + b' xmpNote:HasExtendedXMP="' + name + b'"/>'), extension)
    assert whole == packet(main + b"/><rdf:Description>" + b"x" * 70000 + b"</rdf:Description>")
    data, notices = encode_picture(Picture(PIXELS, {"xmp": whole}), ".jpg")
    assert notices == ()
    assert read_picture(data).metadata == {"xmp": whole}
    assert extension_of(Image.open(io.BytesIO(data)).info["xmp"])
    torn = read_picture(data.replace(b"x" * 60000, b"y" * 60000))
    assert "a part of the XMP" in "".join(torn.notices)


# -- what goes out -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag", [0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x0111, 0x0115, 0x0117, 0x0140, 0x0153, 0x014A]
)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_no_field_of_exif_overrides_a_tiffs_own(tag, mode):
    image = Image.fromarray(PIXELS).convert(mode)
    pixels = np.asarray(image.convert("L" if mode == "L" else "RGB"))
    alpha = np.full(pixels.shape[:2], 9, np.uint8) if mode == "RGBA" else None
    for value in (Field(4, 1, struct.pack("<I", 4000)), Field(3, 1, b"\6\0"), Field(2, 2, b"x\0")):
        data, _ = encode_picture(Picture(pixels, {"exif": exif({tag: value, 0x010F: ACME})}, (), alpha), ".tif")
        back = read_picture(data)
        assert np.array_equal(back.pixels, pixels)
        assert back.alpha is None or np.array_equal(back.alpha, alpha)
        assert exif_directories(back.metadata["exif"]).main == {0x010F: ACME}


@pytest.mark.parametrize(
    "field", [Field(5, 1, struct.pack("<II", 72, 0)), Field(5, 1, bytes(8)), Field(2, 3, b"72\0"), Field(3, 1, b"H\0")]
)
@pytest.mark.parametrize("tag", [0x011A, 0x011B])
def test_a_resolution_that_is_no_number_does_not_go_into_a_tiff(tag, field):
    data, _ = encode_picture(Picture(PIXELS, {"exif": exif({tag: field, 0x0128: SHORT_6, 0x010F: ACME})}), ".tif")
    assert exif_directories(read_picture(data).metadata["exif"]).main == {0x010F: ACME}


def test_what_is_too_large_is_shortened_or_left_out_with_a_notice():
    notes = {MAKER_NOTE: Field(7, 70000, bytes(70000)), 0x9003: Field(2, 4, b"now\0")}
    block = exif({0x010F: ACME, 0x0112: SHORT_6}, {EXIF: notes, GPS: {1: Field(2, 2, b"N\0")}})
    data, notices = encode_picture(Picture(PIXELS, {"exif": block}), ".jpg")
    assert "maker notes were left out" in notices[0]
    found = exif_directories(read_picture(data, orientation="keep").metadata["exif"])
    assert (found.main, set(found.children[EXIF]), set(found.children)) == (
        {0x010F: ACME, 0x0112: SHORT_6},
        {0x9003},
        {EXIF, GPS},
    )
    long = exif({0x0112: SHORT_6, 0x010E: Field(2, 70000, b"a" * 70000)})
    data, notices = encode_picture(Picture(PIXELS, {"exif": long}), ".jpg")
    assert "all but the orientation was left out" in notices[0]
    assert read_picture(data, orientation="keep").turned
    _, notices = encode_picture(Picture(PIXELS, {"icc": random.Random(0).randbytes(jpeg.MOST_ICC + 1)}), ".jpg")
    assert "icc" in notices[0]


@pytest.mark.parametrize("suffix", HOLDERS)
def test_our_own_files_of_large_metadata_can_be_read(suffix):
    noise = random.Random(1).randbytes(3 << 20)
    metadata = {"icc": noise, "xmp": packet(noise.hex().encode())}
    data, notices = encode_picture(Picture(PIXELS, metadata), suffix)
    assert notices == ()
    assert read_picture(data).metadata == metadata


arbitrary = st.binary(max_size=300) | st.builds(
    bytes.__add__,
    st.sampled_from(
        [b"Exif\0\0II*\0", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"Exif\0\0Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12"]
    ),
    st.binary(max_size=120),
)
fields = st.builds(
    lambda kind, values: Field(kind, len(values), b"".join(values)),
    st.sampled_from([1, 2, 6, 7]),
    st.lists(st.binary(min_size=1, max_size=1), min_size=1, max_size=20),
) | st.builds(
    lambda kind, value: Field(*kind[:2], value[: kind[2]]),
    st.sampled_from(
        [(3, 1, 2), (4, 1, 4), (5, 1, 8), (8, 2, 4), (9, 1, 4), (10, 1, 8), (11, 1, 4), (12, 1, 8), (13, 1, 4)]
    ),
    st.binary(min_size=8, max_size=8),
)
tags = (
    st.integers(0, 65535) | st.sampled_from(sorted(DESCRIPTIVE)) | st.sampled_from([*range(0x100, 0x160), 700, 34675])
)
directories = st.dictionaries(tags, fields, max_size=8)
structured = st.builds(lambda main, inner: exif(main, {EXIF: inner, GPS: inner}), directories, directories)


@pytest.mark.parametrize("suffix", [*HOLDERS, ".bmp", ".gif", ".jp2"])
@settings(max_examples=60, deadline=None)
@given(block=arbitrary | structured, xmp=st.binary(max_size=100), icc=st.binary(max_size=100), grey=st.booleans())
def test_arbitrary_blocks_cost_a_notice_and_never_a_picture(suffix, block, xmp, icc, grey):
    """To every writer: it is written, readable, of the same pixels, and holds what it may hold or says so."""
    picture = Picture(PIXELS[..., 0] if grey else PIXELS, {"exif": block, "xmp": xmp, "icc": icc})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data, notices = encode_picture(picture, suffix)
        back = read_picture(data, orientation="keep")
    assert back.upright_pixels.shape[:2] == picture.upright_pixels.shape[:2]
    whole, said = normal(picture.metadata)
    assert bool(said) == (bool(block) and "exif" not in whole)
    assert set(said) <= set(notices)
    for kind, content in whole.items():
        if suffix not in HOLDERS:
            assert any(kind in text for text in notices)
        elif (kind, suffix) == ("exif", ".avif"):
            assert back.metadata[kind] == with_orientation(content, orientation_of(whole))
        elif (kind, suffix) != ("exif", ".tif"):
            assert back.metadata[kind] == content


@pytest.mark.parametrize("make", ["png", "jpeg", "webp", "avif", "tiff"])
@settings(max_examples=60, deadline=None)
@given(block=arbitrary, xmp=st.binary(max_size=80), icc=st.binary(max_size=80))
def test_arbitrary_blocks_in_a_file_never_cost_the_picture(make, block, xmp, icc):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if make == "png":
            data = with_chunks(
                (b"eXIf", block), (b"iCCP", icc), (b"iTXt", xmp), (b"zTXt", b"Raw profile type exif\0" + xmp)
            )
        elif make == "jpeg":
            parts = [
                (0xE1, b"Exif\0\0" + block),
                (0xE2, b"ICC_PROFILE\0" + icc),
                (0xED, b"Photoshop 3.0\x008BIM" + xmp),
            ]
            data = with_segments(
                (0xE0, b"JFIF\0" + icc[:5]), *parts, (0xE2, b"MPF\0" + block), (0xEE, b"Adobe" + icc[:4])
            )
        elif make == "webp":
            data = saved("WEBP", exif=block, xmp=xmp)
        elif make == "avif":
            data = avif_with(block, xmp)
        else:
            data = tiff_with(block, xmp, icc)
        picture = read_picture(data)
    assert sorted(picture.pixels.shape) == sorted(PIXELS.shape)


def avif_with(block: bytes, xmp: bytes) -> bytes:
    """An AVIF whose Exif is any bytes: written with a block of the same length, which is then replaced."""
    place = b"Exif\0\0II*\0\x08\0\0\0\0\0" + bytes(max(0, len(block) - 16)) + b"the end of Exif"
    holder = Image.Exif()
    holder[0x010E] = "x"
    holder.tobytes = lambda offset=8: place  # type: ignore[method-assign]
    data = saved("AVIF", exif=holder, xmp=xmp)
    assert place in data
    return data.replace(place, block.ljust(len(place), b"\0")[: len(place)])


def tiff_with(block: bytes, xmp: bytes, icc: bytes) -> bytes:
    """A TIFF with pointers into the middle of anything, and profiles of the wrong type."""
    data = saved("TIFF")
    found = read_directories(io.BytesIO(data))
    tags = {EXIF: Field(4, 1, (block + bytes(4))[:4]), GPS: Field(2, 3, b"ab\0"), 0x8649: Field(4, 1, b"\1\2\3\4")}
    if xmp:
        tags[700] = Field(7, len(xmp), xmp)
    if icc:
        tags[34675] = Field(2, len(icc), icc)
    packed, place = Directories("<", {**found.main, **tags, 0x0112: Field(7, 1, b"\6")}).pack(len(data) + len(data) % 2)
    whole = data + bytes(len(data) % 2) + packed + block
    return whole[:4] + struct.pack("<I", place) + whole[8:]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_directories_of_anything_are_read_or_none(data):
    for head in (b"II*\0\x08\0\0\0", b"MM\0+\0\x08\0\0\0\0\0\0\0\0\0\x10", b""):
        found = read_directories(io.BytesIO(head + data))
        if found and len(found.main) < 100:
            again = exif_directories(found.block())
            assert again is not None
            assert again.main == found.main
            assert again.children == {tag: fields for tag, fields in found.children.items() if fields}
    assert normal_exif(normal_exif(data)) == normal_exif(data)


def test_interoperability_stays_below_exif():
    children = {EXIF: {0x9003: Field(2, 4, b"now\0")}, INTEROPERABILITY: {1: Field(2, 4, b"R98\0")}}
    assert exif_directories(exif({0x010F: ACME}, children)).children == children


# -- what is said --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        ([(b"gAMA", struct.pack(">I", 100000))], "gamma"),
        ([(b"gAMA", struct.pack(">I", 45455))], ""),
        ([(b"cHRM", bytes(32))], "chromaticities"),
        ([(b"cICP", bytes((9, 16, 0, 1)))], "cICP"),
        ([(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100000))], ""),
        ([(b"pHYs", struct.pack(">IIB", 11811, 11811, 1))], "300 x 300 dpi"),
        ([(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))], ""),
        ([(b"pHYs", struct.pack(">IIB", 2, 1, 0))], "aspect ratio of 2:1"),
        ([(b"tEXt", b"Title\0A title"), (b"zTXt", b"Author\0\0" + zlib.compress(b"me"))], "text (Title, Author)"),
        ([(b"iTXt", b"\x1b]0;x\x07\0\0\0\0\0x")], "text (?]0;x?)"),
        ([(b"iCCP", b"x\0\0not zlib")], "cannot be unpacked"),
    ],
)
def test_what_a_png_says_beside_and_is_not_kept_is_named(chunks, said):
    (notice,) = read_picture(with_chunks(*chunks), "a.png").notices or ("",)
    assert said in notice
    assert notice.startswith("a.png: left out: ") == bool(said)


def test_what_a_jpeg_says_beside_and_is_not_kept_is_named():
    mpf = Directories("<", {0xB001: Field(4, 1, struct.pack("<I", 3))}).block().removeprefix(b"Exif\0\0")
    segments = [
        (0xE1, XMP_MARKER + packet(b'<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"/>')),
        (0xE2, b"MPF\0" + mpf),
        (0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\0"),
        (0xFE, b"a remark"),
    ]
    notices = "".join(read_picture(with_segments(*segments)).notices)
    for said in ("gain map", "IPTC", "comment", "only the first of 3 frames"):
        assert said in notices
    dense = saved("JPEG", dpi=(300, 300))
    assert "density of 300 x 300 dpi" in "".join(read_picture(dense).notices)
    told = exif({0x011A: Field(5, 1, struct.pack("<II", 300, 1))})
    assert not read_picture(saved("JPEG", dpi=(300, 300), exif=told)).notices


def test_metadata_that_no_file_of_ours_holds_are_left_out_with_a_notice():
    picture = read_picture(with_chunks((b"eXIf", b"II*\0\x08\0\0\0" + bytes(MAX_METADATA))))
    assert picture.metadata == {}
    assert "eXIf" in picture.notices[0]
    opened = Image.fromarray(PIXELS)
    opened.info["xmp"] = bytes(MAX_METADATA + 1)
    assert "XMP of" in read_picture(opened).notices[0]


def test_streams_without_end_are_looked_into_a_few_times():
    bomb = b"Raw profile type exif\0\0" + zlib.compress(bytes(1 << 16))
    picture = read_picture(with_chunks(*[(b"zTXt", bomb)] * 100))
    assert "unpacked" in picture.notices[0]
