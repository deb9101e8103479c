"""The page of one file, in a real browser under its strict policy: what it shows, says, takes and saves."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote

import numpy as np
import pytest
from conftest import natural_picture
from PIL import Image

from aecodec.codec.codec import Codec
from aecodec.coding import container
from aecodec.data.images import Picture

PATIENCE = 120
STATUS = "document.querySelector('[role=status]').textContent"
ALERT = "document.querySelector('[role=alert]').innerText"
#: Of the size of a picture of 300 rows and 400 columns, as the page writes it.
SIZE = "400 \N{MULTIPLICATION SIGN} 300 pixels"
MARKUP = "<img src=x onerror=alert(1)>.aec"


@pytest.fixture(scope="module")
def codec(site, model_file, small_codec) -> Codec:
    site.put_model(model_file)
    return Codec(small_codec.engine, tile=256)


@pytest.fixture(scope="module")
def whole(codec) -> bytes:
    xmp = b"<script>document.title = 'taken'</script>"
    picture = Picture(natural_picture(300, 400), {"xmp": xmp}, alpha=natural_picture(300, 400, 1)[..., 0])
    return codec.encode_picture(picture, quality=60).data


def until(browser, expression: str) -> None:
    """Wait until an expression is true."""
    deadline = time.monotonic() + PATIENCE
    while not browser.evaluate(expression):
        assert time.monotonic() < deadline, browser.evaluate(f"{STATUS} + ' ' + {ALERT}")
        time.sleep(0.1)


def shown(browser, site, name: str) -> str:
    """Open a served file by the page's address -> what the page says when it is done."""
    browser.go(f"{site.url}index.html?file={quote(name, safe='')}")
    until(browser, f"/decoded in|No picture/.test({STATUS})")
    return browser.evaluate(STATUS)


def dropped(browser, name: str, data: bytes) -> None:
    """Drop a file on the page."""
    content = base64.b64encode(data).decode()
    browser.evaluate(
        f"""{{
            const bytes = Uint8Array.from(atob("{content}"), (letter) => letter.charCodeAt(0));
            const taken = new DataTransfer();
            taken.items.add(new File([bytes], {json.dumps(name)}));
            const fate = {{ dataTransfer: taken, bubbles: true, cancelable: true }};
            document.body.dispatchEvent(new DragEvent("drop", fate));
        }}"""
    )


def press(browser, key: str) -> None:
    browser.evaluate(f"document.body.dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}', bubbles: true }}))")


def test_a_file_named_in_the_address_is_shown_with_what_it_says(browser, site, whole):
    site.put("a picture.aec", whole)
    assert shown(browser, site, "a picture.aec").startswith(f"{SIZE}, decoded in")
    assert browser.evaluate(ALERT) == ""
    assert browser.evaluate("document.querySelector('canvas').ariaLabel") == "a picture.aec, 400 by 300 pixels"
    press(browser, "i")
    facts = browser.evaluate("document.querySelector('aside').innerText")
    for text in (SIZE, "RGB and alpha", "60 of 100", "small, fingerprint", "of 256 pixels"):
        assert text in facts


def test_pixels_of_the_canvas_are_those_of_the_picture(browser, site, codec, whole):
    """At 1:1, in the middle of the canvas, where the picture is opaque."""
    opaque = codec.encode_picture(Picture(natural_picture(300, 400)), quality=60).data
    site.put("opaque.aec", opaque)
    shown(browser, site, "opaque.aec")
    press(browser, "1")
    found = browser.evaluate(
        """new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame)).then(() => {
            const canvas = document.querySelector("canvas");
            const left = Math.round(canvas.width / 2 - 200), top = Math.round(canvas.height / 2 - 150);
            return Array.from(canvas.getContext("2d").getImageData(left, top, 400, 300).data);
        })"""
    )
    seen = np.array(found).reshape(300, 400, 4)
    assert (seen[..., 3] == 255).all()
    assert np.abs(seen[..., :3] - codec.decode_picture(opaque).pixels.astype(int)).max() <= 1


def test_names_and_metadata_with_markup_are_shown_as_text(browser, site, whole):
    browser.go(f"{site.url}index.html")
    dropped(browser, MARKUP, whole)
    until(browser, f"/decoded in/.test({STATUS})")
    assert browser.evaluate("document.querySelector('h1').textContent") == MARKUP
    assert browser.evaluate("document.title") == MARKUP
    assert "<script>" in browser.evaluate("document.querySelector('aside pre').textContent")
    dropped(browser, MARKUP, b"no file of ours")
    until(browser, f"/No picture/.test({STATUS})")
    assert browser.evaluate(ALERT).startswith(f"{MARKUP} cannot be shown: not an .aec file")
    assert browser.evaluate("document.querySelectorAll('img, script:not([src])').length") == 0


def test_damage_is_told_in_words_and_the_rest_is_shown(browser, site, codec, whole):
    parsed = container.parse(whole)
    torn = bytearray(whole)
    chunk = [chunk for chunk in parsed.chunks if chunk.type == container.TILE][2]
    torn[chunk.offset + 20] ^= 1
    site.put("torn.aec", bytes(torn))
    assert "decoded in" in shown(browser, site, "torn.aec")
    told = browser.evaluate(ALERT)
    assert told.startswith(f"The file is damaged: the chunk at byte {chunk.offset} is damaged")
    assert "Of 4 tiles these are lost and filled with grey: 2." in told
    site.put("forged.aec", container.write(parsed.header, [*parsed.tiles[:3], b"four"], parsed.side))
    assert "decoded in" in shown(browser, site, "forged.aec")
    assert "filled with grey: 3." in browser.evaluate(ALERT)
    site.put("beheaded.aec", whole[:9] + b"\xff" + whole[10:])
    assert shown(browser, site, "beheaded.aec") == "No picture."
    assert "the header is damaged" in browser.evaluate(ALERT)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.aec", "the server has no such file (status 404)"),
        ("https://example.invalid/x.aec", "only files of this page's own server are opened by address"),
        ("//example.invalid/x.aec", "only files of this page's own server are opened by address"),
        ("data:,x", "only files of this page's own server are opened by address"),
    ],
)
def test_what_cannot_be_fetched_is_told_in_words(browser, site, name, words):
    assert shown(browser, site, name) == "No picture."
    assert words in browser.evaluate(ALERT)


def test_another_file_takes_the_place_of_one_that_is_being_decoded(browser, site, codec, whole):
    long = codec.encode_picture(Picture(natural_picture(900, 1200)), quality=60).data
    browser.go(f"{site.url}index.html")
    dropped(browser, "long.aec", long)
    until(browser, f"/Decoding/.test({STATUS})")
    dropped(browser, "short.aec", whole)
    until(browser, f"/{SIZE}, decoded in/.test({STATUS})")
    assert browser.evaluate("document.querySelector('h1').textContent") == "short.aec"
    assert browser.evaluate(ALERT) == ""


def test_keys_zoom_and_move(browser, site, whole):
    site.put("keys.aec", whole)
    shown(browser, site, "keys.aec")
    scale = "document.querySelector('output').textContent"
    assert browser.evaluate(scale) == "100 %"
    seen = []
    for key in ("+", "+", "-", "1", "-", "0", "ArrowLeft"):
        press(browser, key)
        seen.append(browser.evaluate(scale))
    assert seen == ["125 %", "156 %", "125 %", "100 %", "80 %", "100 %", "100 %"]
    browser.evaluate("document.querySelector('canvas').dispatchEvent(new WheelEvent('wheel', { deltaY: -300 }))")
    assert browser.evaluate(scale) == "200 %"


def test_the_picture_is_saved_as_a_png_with_its_metadata(browser, site, codec, whole, tmp_path):
    site.put("saved.aec", whole)
    shown(browser, site, "saved.aec")
    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    press(browser, "s")
    until(browser, f"/The PNG is/.test({STATUS})")
    deadline = time.monotonic() + PATIENCE
    while not (path := tmp_path / "saved.png").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    expected = codec.decode_picture(whole)
    with Image.open(path) as image:
        pixels = np.asarray(image)
        assert image.info["xmp"] == expected.metadata["xmp"]
    assert np.array_equal(pixels[..., 3], expected.alpha)
    assert np.abs(pixels[..., :3].astype(int) - expected.pixels).max() <= 1


def test_everything_on_the_page_has_a_name_and_can_be_reached_by_keys(browser, site):
    browser.go(f"{site.url}index.html")
    unnamed = browser.evaluate(
        """Array.from(document.querySelectorAll("button, canvas, input, [role]"))
            .filter((one) => !(one.ariaLabel || one.textContent || ["alert", "status"].includes(one.role))).length"""
    )
    assert unnamed == 0
    assert browser.evaluate("document.querySelector('canvas').tabIndex") == 0
    assert browser.evaluate("document.documentElement.lang") == "en"


def test_nothing_was_against_the_policy(browser):
    """Of all that the tests above did."""
    assert not [line for line in browser.said if "Content Security Policy" in line or "Refused" in line]
