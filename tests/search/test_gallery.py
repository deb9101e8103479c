"""The wall of pictures: one page, well-formed, that asks nobody and links to the files."""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import natural_picture
from PIL import Image

from aecodec.cli import run
from aecodec.search import gallery
from aecodec.search.gallery import Tile, Wall, write_gallery


@pytest.fixture
def photos(few_photos: Path, block_hasher: None) -> Path:
    """Pictures in the working folder's photos/, and a hasher that needs no model."""
    return few_photos


class Page(HTMLParser):
    """Collects addresses and checks that elements are closed in order."""

    VOID = frozenset({"meta", "link", "img", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name == "src" or (name == "href" and tag != "a")]
        self.links += [value or "" for name, value in attrs if name == "href" and tag == "a"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_asks_nobody_and_links_to_the_files(photos, tmp_path, capsys):
    (tmp_path / "pages").mkdir()
    assert run(["dedup", "photos", "--max-distance", "4", "--html", "pages/dup.html"]) == 0
    text = Path("pages/dup.html").read_text()
    page = Page(text)
    assert all(source.startswith("data:") for source in page.sources)
    assert sum(source.startswith("data:image/jpeg") for source in page.sources) == 2
    assert page.links == ["../photos/p2.png", "../photos/%3Ccopy%3E%20%26%20co.jpg"]
    assert "http" not in text
    assert "&lt;copy&gt; &amp; co.jpg" in text
    assert "1 group of 2 pictures" in text
    assert "64 x 96" not in text
    assert "96 x 64" in text


def test_names_cannot_become_markup_or_fields(tmp_path):
    path = tmp_path / '"><script>{{GROUPS}}.png'
    Image.fromarray(natural_picture(16, 16)).save(path)
    write_gallery(tmp_path / "a.html", "{{NOTE}}<b>", "<i>", [Wall("<u>", "&", [Tile(path)])])
    text = (tmp_path / "a.html").read_text()
    Page(text)
    assert text.count("<section>") == 1
    assert "<u>" not in text
    assert text.count("<script>") == 1


def test_pictures_that_vanished_have_a_frame_and_long_pages_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "MOST", 3)
    Image.fromarray(natural_picture(16, 16)).save(tmp_path / "a.png")
    walls = [Wall(str(n), "", [Tile(tmp_path / "a.png"), Tile(tmp_path / "none.png", 1)]) for n in range(3)]
    assert write_gallery(tmp_path / "a.html", "T", "N", walls) == 4
    text = (tmp_path / "a.html").read_text()
    assert text.count("<section>") == 1
    assert '<div class="none">no such file</div>' in text
    assert "4 pictures of later groups are not shown" in text


def test_the_page_renders_without_console_errors(photos, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium")
    assert run(["dedup", "photos", "--max-distance", "64", "--html", "dup.html"]) == 0
    move = '<script>far.value = 0; far.dispatchEvent(new Event("input"))</script></body>'
    Path("moved.html").write_text(Path("dup.html").read_text().replace("</body>", move))
    shown = []
    for name in ("dup.html", "moved.html"):
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            (tmp_path / name).as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
        assert done.stdout.count("<figure") == 5
        shown.append(done.stdout.count('class="gone"'))
    assert shown == [0, 5]  # four figures beyond distance 0, and the section with one picture left


def test_thumbnails_are_small_jpegs(tmp_path):
    Image.fromarray(np.repeat(np.repeat(natural_picture(100, 400), 8, 0), 8, 1)).save(tmp_path / "a.jpg")
    write_gallery(tmp_path / "a.html", "T", "N", [Wall("h", "r", [Tile(tmp_path / "a.jpg")])])
    uri = next(s for s in Page((tmp_path / "a.html").read_text()).sources if s.startswith("data:image"))
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert image.format == "JPEG"
    assert image.size == (720, 180)
