"""Pillow opens and saves .aec files as it does its own, and desktops can tell what they are."""

import io
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from conftest import natural_picture
from PIL import Image, ImageFile, UnidentifiedImageError
from places import GOLDEN

import aecodec
import aecodec.pillow
from aecodec.coding import container
from aecodec.data.images import Picture
from aecodec.zoo.registry import DEFAULT_MODEL

DESKTOP = Path(aecodec.__file__).parent / "desktop"


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(natural_picture(60, 90))


@pytest.fixture(scope="module")
def saved(photo, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pillow") / "photo.aec"
    photo.save(path, quality=60)
    return path


@pytest.fixture(scope="module")
def tiled(tmp_path_factory) -> bytes:
    codec = aecodec.Codec.from_pretrained(precision="float32", tile=256)
    return codec.encode_picture(Picture(natural_picture(70, 800))).data


def test_save_open_and_load(photo, saved):
    image = Image.open(saved)
    assert (image.format, image.mode, image.size, image.get_format_mimetype()) == (
        "AEC",
        "RGB",
        (90, 60),
        "image/x-aec",
    )
    assert image.info["quality"] == 60
    assert image._undecoded
    error = np.asarray(image).astype(float) - np.asarray(photo)
    assert 0 < (error**2).mean() < 300
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(saved.read_bytes()))))
    with Image.open(saved) as again:
        assert again.convert("L").resize((9, 6)).size == (9, 6)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "CMYK", "1"])
def test_modes(photo, mode):
    image = photo.convert(mode)
    if "A" in mode:
        image.putalpha(photo.convert("L"))
    buffer = io.BytesIO()
    image.save(buffer, "AEC")
    back = Image.open(buffer)
    assert back.mode == {"P": "RGB", "CMYK": "RGB", "1": "L"}.get(mode, mode)
    back.load()
    if "A" in mode:
        assert back.getchannel("A").tobytes() == photo.convert("L").tobytes()


def test_opening_loads_no_torch(saved):
    code = (
        "import sys; from PIL import Image; import aecodec.pillow; image = Image.open(sys.argv[1]); "
        "sys.exit(0 if image.size == (90, 60) and 'torch' not in sys.modules else 1)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(saved)], check=False).returncode == 0


def test_metadata_and_options(photo, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    photo.save(tmp_path / "x.aec", quality=30, exif=exif, icc_profile=b"profile", xmp=b"<xmp/>")
    back = Image.open(tmp_path / "x.aec")
    assert back.getexif()[0x010E] == "a description"
    assert (back.info["icc_profile"], back.info["xmp"], back.info["quality"]) == (b"profile", b"<xmp/>", 30)
    photo.save(tmp_path / "small.aec", target_size=1000)
    assert (tmp_path / "small.aec").stat().st_size <= 1000


def test_metadata_that_no_file_holds_cost_a_warning(photo, tmp_path):
    with pytest.warns(UserWarning, match="Exif that is no TIFF"):
        photo.save(tmp_path / "x.aec", exif=b"rubbish", xmp="<xmp/>")
    back = Image.open(tmp_path / "x.aec")
    assert (back.info["xmp"], dict(back.getexif())) == (b"<xmp/>", {})
    without = aecodec.Codec.from_pretrained().encode_picture(Picture(np.asarray(photo), {"exif": b"rubbish"}))
    assert dict(Image.open(io.BytesIO(without.data)).getexif()) == {}


@pytest.mark.parametrize("options", [{"quality": 101}, {"target_bpp": 0.1, "target_size": 5}, {"target_psnr": -1}])
def test_wrong_options_are_value_errors(photo, options):
    with pytest.raises(ValueError, match=r"target|quality"):
        photo.save(io.BytesIO(), "AEC", **options)


def test_damage_is_an_os_error_unless_truncated_images_are_wanted(tiled, monkeypatch):
    broken = tiled[:-5]
    image = Image.open(io.BytesIO(broken))
    assert image.size == (800, 70)
    with pytest.raises(OSError, match="beyond the file's end"):
        image.load()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    partial, whole = (np.asarray(Image.open(io.BytesIO(data))) for data in (broken, tiled))
    assert (partial[:, 768:] == 128).all()
    assert np.array_equal(partial[:, :512], whole[:, :512])


def test_a_file_cut_anywhere_says_so(saved):
    whole = saved.read_bytes()
    for length in (*range(4, 60), len(whole) - 1):
        with pytest.raises(OSError, match=r"the file.* ends|beyond the file|cannot hold them") as caught:
            Image.open(io.BytesIO(whole[:length])).load()
        assert not isinstance(caught.value, UnidentifiedImageError)


def test_opening_reads_what_stands_before_the_tiles_alone(photo, tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    photo.convert("RGBA").save(tmp_path / "x.aec", exif=exif, icc_profile=b"profile", xmp=b"<xmp/>")
    data = (tmp_path / "x.aec").read_bytes()
    tiles = next(chunk.offset for chunk in container.parse(data).chunks if chunk.type == container.TILE)

    class Counted(io.BytesIO):
        read_to = 0

        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            self.read_to = max(self.read_to, self.tell())
            return found

    stream = Counted(data)
    image = Image.open(stream, formats=["AEC"])
    assert stream.read_to <= max(tiles + 5, 47)
    assert (image.info["icc_profile"], image.info["xmp"]) == (b"profile", b"<xmp/>")
    image.load()
    assert stream.read_to == len(data)


def test_verify(saved):
    Image.open(saved).verify()
    image = Image.open(io.BytesIO(saved.read_bytes()))
    image.fp = io.BytesIO(saved.read_bytes()[:-1])
    with pytest.raises(OSError, match="file"):
        image.verify()


def test_the_limit_of_pixels_is_pillows(saved, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(saved).load()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(saved)


def test_a_file_of_an_absent_model_opens_and_says_what_it_needs():
    header = container.Header(10, 10, 3, 500, "elsewhere", b"another!")
    image = Image.open(io.BytesIO(container.write(header, [b""])))
    assert image.info["model"] == "elsewhere"
    with pytest.raises(OSError, match="elsewhere"):
        image.load()


# -- desktops ------------------------------------------------------------------------------------


def test_the_desktop_entries_are_about_our_magic_suffix_and_type():
    space = "{http://www.freedesktop.org/standards/shared-mime-info}"
    kind = ET.parse(DESKTOP / "aec.xml").getroot().find(f"{space}mime-type")
    match = kind.find(f"{space}magic/{space}match")
    assert kind.get("type") == aecodec.pillow.MIME
    assert kind.find(f"{space}glob").get("pattern") == f"*{container.SUFFIX}"
    assert (match.get("offset"), match.get("type")) == ("0", "string")
    assert match.get("value").encode().decode("unicode_escape").encode("latin-1") == container.MAGIC
    lines = [line.split("\t") for line in (DESKTOP / "aec.magic").read_text().splitlines()]
    first = next(line for line in lines if line[0] == "0")
    assert first[1] == "string"
    assert first[2].encode().decode("unicode_escape").encode("latin-1") == container.MAGIC
    assert ["!:mime", aecodec.pillow.MIME] in lines


def test_the_magic_entry_reads_the_fields_where_they_are():
    """Every numeric test of the entry against a file's header, by a few lines that do what file(1) does."""
    data = (GOLDEN / "v1" / "kind-rgba.aec").read_bytes()
    sizes = {"ubyte": 1, "ulelong": 4}
    said = []
    for line in (DESKTOP / "aec.magic").read_text().splitlines():
        if not line.startswith(">"):
            continue
        place, kind, wanted, text = line[1:].split("\t")
        if kind == "pstring/B":
            value: object = data[int(place) + 1 :][: data[int(place)]].decode()
        else:
            value = int.from_bytes(data[int(place) :][: sizes[kind]], "little")
        if wanted in ("x", str(value)):
            said.append(text.replace("\\b", "").replace("%u", str(value)).replace("%s", str(value)).strip(" ,"))
    assert said == ["format 1", "150 x", "70", "RGB and alpha", "model golden"]


@pytest.mark.skipif(shutil.which("file") is None, reason="file(1) is not here; the test above reads the same entry")
def test_file_tells_what_it_is(saved):
    def ask(*arguments: str) -> str:
        command = ["file", "--brief", "-m", str(DESKTOP / "aec.magic"), *arguments, str(saved)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert ask() == f"aecodec learned image, format 1, 90 x 60, RGB, model {DEFAULT_MODEL}"
    assert ask("--mime-type") == aecodec.pillow.MIME
