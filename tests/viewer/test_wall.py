"""The page of a folder in a real browser: a wall that is decoded as it is scrolled, one picture alone, and a search."""

from __future__ import annotations

import functools
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Browser, find_browser
from conftest import natural_picture
from PIL import Image
from places import TESTS
from shown_pictures import serving
from web_site import built

from aecodec.cli import run
from aecodec.cli.view import find_search
from aecodec.codec.codec import Codec
from aecodec.data.images import Picture
from aecodec.viewer.assets import find_assets
from aecodec.viewer.collection import Folder
from aecodec.viewer.models import Models
from aecodec.viewer.pages import Pages
from aecodec.viewer.server import PictureServer
from aecodec.viewer.site import write_site

MODEL = TESTS / "engine" / "small.safetensors"
MARKUP = "<img src=x onerror=document.title='taken'>&amp; ?#%41"
COUNT = 200
PATIENCE = 240
TILE = "[...document.querySelectorAll('.tile')].find((tile) => tile.title === {name})"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_browser() is None:
        pytest.skip("no chromium")
    folder = tmp_path_factory.mktemp("web") / "dist"
    built(folder)
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 small files, a damaged one, one whose name is markup, and pictures that the browser shows itself."""
    folder = tmp_path_factory.mktemp("archive") / "archive"
    (folder / "more").mkdir(parents=True)
    codec = Codec.from_pretrained(MODEL, engine="onnx")
    files = [codec.encode_picture(Picture(natural_picture(48, 64 + 16 * (n % 3), n))).data for n in range(8)]
    for number in range(COUNT):
        (folder / f"p{number:03d}.aec").write_bytes(files[number % 8])
    torn = bytearray(files[0])
    torn[-10] ^= 1
    (folder / "a damaged.aec").write_bytes(torn)
    (folder / "a garbled.png").write_bytes(b"\x89PNG of no use")
    (folder / "more" / f"{MARKUP}.aec").write_bytes(files[1])
    Image.fromarray(natural_picture(60, 80, 99)).save(folder / "a plain.png")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if find_browser() is None:
        pytest.skip("no chromium")
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
        assert not [line for line in opened.said if "Content Security Policy" in line or "Error" in line]


@pytest.fixture(scope="module")
def server(archive: Path, dist: Path) -> Iterator[PictureServer]:
    folder = Folder(archive)
    with serving(PictureServer(Pages(folder, find_assets(wall=True, built=dist), Models(MODEL)))) as found:
        yield found
    folder.close()


def until(browser: Browser, expression: str) -> None:
    """Wait until an expression is true."""
    deadline = time.monotonic() + PATIENCE
    while not browser.evaluate(expression):
        state = browser.evaluate("document.body.innerText.slice(0, 2000)")
        assert time.monotonic() < deadline, (state, browser.said)
        time.sleep(0.1)


def tile(name: str, then: str) -> str:
    """An expression about the tile of a name."""
    return f"{TILE.format(name=json.dumps(name))}{then}"


def opened(browser: Browser, url: str, count: int = COUNT + 4) -> None:
    """Open a wall of so many pictures, and wait for its first thumbnails."""
    browser.go("about:blank")
    browser.go(url)
    until(browser, f"document.getElementById('count').textContent === '{count} pictures'")
    until(browser, "document.querySelectorAll('.frame img').length >= 3")


def test_a_wall_is_decoded_as_it_is_scrolled(browser, server):
    opened(browser, server.url)
    assert browser.evaluate("document.title") == "archive"
    last = f"p{COUNT - 1:03d}.aec"
    until(browser, f"document.querySelectorAll('.tile').length === {COUNT + 4} || (scrollTo(0, 1e6), false)")
    browser.evaluate("scrollTo(0, 1e6)")
    until(browser, tile(last, ".querySelector('img')?.naturalWidth > 0"))
    assert "64" in browser.evaluate(tile(last, ".innerText")) or "80" in browser.evaluate(tile(last, ".innerText"))
    # What was scrolled past in haste was let be.
    assert browser.evaluate("document.querySelectorAll('.frame img').length") < COUNT


def test_thumbnails_are_those_of_the_pictures(browser, server, archive):
    opened(browser, server.url)
    until(browser, tile("p000.aec", ".querySelector('img')?.complete"))
    seen = browser.evaluate(
        f"""(async () => {{
            const image = {tile("p000.aec", ".querySelector('img')")};
            await image.decode();
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const {{ data }} = context.getImageData(0, 0, canvas.width, canvas.height);
            let sum = 0;
            for (let at = 0; at < data.length; at += 4) sum += data[at] + data[at + 1] + data[at + 2];
            return [canvas.width, canvas.height, sum / (0.75 * data.length)];
        }})()"""
    )
    pixels = Codec.from_pretrained(MODEL, engine="onnx").decode_picture((archive / "p000.aec").read_bytes()).pixels
    assert seen[:2] == [64, 48]
    assert abs(seen[2] - pixels.mean()) < 2  # WebP of quality 85


def test_damage_is_told_in_its_tile_and_names_are_text(browser, server):
    opened(browser, server.url)
    until(browser, tile("a damaged.aec", ".querySelector('.why')?.textContent.startsWith('damaged: ')"))
    until(browser, tile("a garbled.png", ".querySelector('.why')?.textContent.includes('no picture')"))
    until(browser, tile("a plain.png", ".querySelector('img')?.naturalWidth === 80"))
    name = f"more/{MARKUP}.aec"
    assert browser.evaluate(tile(name, ".querySelector('.name').textContent")) == f"{MARKUP}.aec"
    assert browser.evaluate(tile(name, ".querySelector('.folder').textContent")) == "more"
    until(browser, tile(name, ".querySelector('img')?.naturalWidth > 0"))
    assert browser.evaluate("document.querySelectorAll('[onerror], script:not([src])').length") == 0
    assert browser.evaluate("document.title") == "archive"


def test_a_picture_alone_and_back_to_the_same_place(browser, server):
    opened(browser, server.url)
    name = f"more/{MARKUP}.aec"
    browser.evaluate(tile(name, ".scrollIntoView()"))
    until(browser, tile(name, ".querySelector('img')?.naturalWidth > 0"))
    place, made = browser.evaluate("scrollY"), browser.evaluate("document.querySelectorAll('.frame img').length")
    browser.evaluate(tile(name, ".click()"))
    until(browser, "/decoded in/.test(document.querySelector('#view [role=status]').textContent)")
    assert browser.evaluate("document.getElementById('alone').textContent") == name
    assert browser.evaluate("document.getElementById('all').hidden")
    browser.evaluate("history.back()")
    until(browser, "!document.getElementById('all').hidden")
    assert browser.evaluate("scrollY") == place
    assert browser.evaluate("document.querySelectorAll('.frame img').length") >= made


def test_an_address_of_one_picture_shows_it_and_the_next(browser, server):
    browser.go("about:blank")
    browser.go(f"{server.url}#file=files%2Fa%2520plain.png")
    until(browser, "document.querySelector('#image img')?.naturalWidth === 80")
    browser.evaluate("document.getElementById('before').click()")
    until(browser, "/It cannot be shown/.test(document.getElementById('image').textContent)")
    browser.evaluate("dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }))")
    until(browser, "!document.getElementById('all').hidden")
    # An address that is none of the folder's is not asked for.
    browser.evaluate("location.hash = '#file=https%3A%2F%2Fexample.org%2Fx.aec'")
    time.sleep(0.2)
    assert not browser.evaluate("document.getElementById('all').hidden")


def put(browser: Browser, selector: str, path: Path) -> None:
    """Choose a file for an input, as a person does."""
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
    browser.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)


def test_pictures_are_found_by_one_that_is_dropped(browser, dist, few_photos, block_hasher, tmp_path):
    (few_photos / MARKUP).with_suffix(".png").write_bytes((few_photos / "p0.png").read_bytes())
    assert run(["index", "build", "photos", "-o", "photos.hix", "--quiet"]) == 0
    folder = Folder(few_photos)
    pages = Pages(folder, find_assets(wall=True, built=dist), Models(), find_search(folder, None, None))
    with serving(PictureServer(pages)) as server:
        opened(browser, server.url, 6)
        put(browser, "#query", few_photos / "p2.png")
        until(browser, "document.getElementById('asked').textContent === '6 most like p2.png'")
        until(browser, "[...document.querySelectorAll('#hits img')].every((image) => image.naturalWidth > 0)")
        told = browser.evaluate("[...document.querySelectorAll('#hits .tile')].map((tile) => tile.innerText)")
        assert {text.split("\n")[0] for text in told[:2]} == {"p2.png", "<copy> & co.jpg"}
        assert "0 bits" in told[0]
        assert browser.evaluate("document.getElementById('pictures').hidden")
        # A picture that is none, whose name is markup.
        (tmp_path / "<b>bold.png").write_bytes(b"of no use")
        put(browser, "#query", tmp_path / "<b>bold.png")
        until(browser, "document.getElementById('notes').textContent.startsWith('<b>bold.png: not a picture')")
        browser.evaluate("document.getElementById('back').click()")
        assert browser.evaluate("document.getElementById('found').hidden")
        assert not browser.evaluate("document.getElementById('pictures').hidden")
    folder.close()


def test_a_static_site_works_below_any_path_of_a_plain_server(browser, dist, archive, tmp_path):
    folder = Folder(archive)
    done = write_site(tmp_path / "web" / "deep" / "down", folder, find_assets(wall=True, built=dist), Models(MODEL))
    folder.close()
    assert (done.pictures, done.failures) == (COUNT + 4, [])
    asked: list[str] = []

    class Plain(http.server.SimpleHTTPRequestHandler):
        """No header but a type, as a host for files has it."""

        def log_message(self, *message: object) -> None:
            asked.append(self.path)

    handler = functools.partial(Plain, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            opened(browser, f"http://127.0.0.1:{server.server_address[1]}/deep/down/")
            until(browser, tile("a damaged.aec", ".querySelector('.why')?.textContent.startsWith('damaged: ')"))
            until(browser, tile("p000.aec", ".querySelector('img')?.naturalWidth > 0"))
            assert browser.evaluate("document.getElementById('search').hidden")
            browser.go("about:blank")
        finally:
            server.shutdown()
    assert asked
    assert all(path.startswith("/deep/down/") for path in asked)
