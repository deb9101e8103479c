"""The wall of pictures: one page, well-formed, that asks nobody and links to the files."""

from __future__ import annotations

import base64
import io
import re
import shutil
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import rendered
from conftest import natural_picture
from PIL import Image

from aecodec.cli import run
from aecodec.index.windows import Window
from aecodec.search import gallery
from aecodec.search.choices import read_choices
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
    assert not any(scheme in text for scheme in ("http:", "https:", "url("))
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


def test_the_part_that_is_alike_is_framed(tmp_path):
    Image.fromarray(natural_picture(16, 16)).save(tmp_path / "a.png")
    tiles = [Tile(tmp_path / "a.png"), Tile(tmp_path / "a.png", 3, part=Window(0.2, 0.0, 0.8, 0.6))]
    write_gallery(tmp_path / "a.html", "T", "N", [Wall("h", "r", tiles)])
    text = (tmp_path / "a.html").read_text()
    Page(text)
    assert text.count('<span class="part" style="left: 20.00%; top: 0.00%; width: 80.00%; height: 60.00%"></span>') == 1
    assert text.count('class="part"') == 1


def test_pictures_that_vanished_have_a_frame_and_long_pages_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "MOST", 3)
    Image.fromarray(natural_picture(16, 16)).save(tmp_path / "a.png")
    walls = [Wall(str(n), "", [Tile(tmp_path / "a.png"), Tile(tmp_path / "none.png", 1)]) for n in range(3)]
    assert write_gallery(tmp_path / "a.html", "T", "N", walls) == 4
    text = (tmp_path / "a.html").read_text()
    assert text.count("<section>") == 1
    assert '<div class="none">no such file</div>' in text
    assert "4 pictures of later groups are not shown" in text


POLICY = re.compile(r"<meta http-equiv=[^\n]*\n")


def acted(page: str, script: str) -> Path:
    """A page on which a script acts as a person would; the page itself allows no script but its own."""
    path = Path("acted.html")
    path.write_text(POLICY.sub("", Path(page).read_text()).replace("</body>", f"<script>{script}</script></body>"))
    return path


def test_the_page_renders_without_console_errors_and_hides_what_is_far(photos, tmp_path):
    assert run(["dedup", "photos", "--max-distance", "64", "--html", "dup.html"]) == 0
    acted("dup.html", 'far.value = 0; far.dispatchEvent(new Event("input"))')
    shown = []
    for name in ("dup.html", "acted.html"):
        text, said = rendered(Path(name), tmp_path / "profile")
        assert said == []
        assert text.count("<figure") == 5
        shown.append(text.count('class="gone"') + text.count('class="gone '))
    assert shown == [0, 5]  # four figures beyond distance 0, and the section with one picture left


def test_no_script_but_the_page_s_own_runs_on_it(photos, tmp_path):
    assert run(["dedup", "photos", "--max-distance", "64", "--html", "dup.html"]) == 0
    Path("dup.html").write_text(
        Path("dup.html").read_text().replace("</body>", "<script>document.title = 'got in'</script>")
    )
    text, said = rendered(Path("dup.html"), tmp_path / "profile")
    assert len(said) == 1
    assert "Content Security Policy" in said[0]
    assert "<title>Duplicates</title>" in text


def saved(text: str) -> str | None:
    """The list that the link of a rendered page saves."""
    (link,) = re.findall(r'<a id="save"[^>]*>', text)
    found = re.search(r' href="data:application/json,([^"]*)"', link)
    return None if found is None else urllib.parse.unquote(found[1])


def test_the_list_that_the_page_saves_is_what_is_ticked_and_shown(photos, tmp_path):
    odd = photos / "-odd \n\"'&<b> \udcff.png"
    shutil.copy(photos / "p2.png", odd)
    assert run(["dedup", "photos", "--max-distance", "4", "--html", "dup.html"]) == 0
    text, said = rendered(Path("dup.html"), tmp_path / "profile")
    assert said == []
    assert "2 pictures, 0.0 MB" in text
    Path("list.json").write_text(saved(text))
    roots, (choice,) = read_choices(Path("list.json"))
    assert roots == [photos]
    status = odd.stat()
    assert sorted(one.path for one in choice.others + choice.kept) == sorted(
        [odd, photos / "p2.png", photos / "<copy> & co.jpg"]
    )
    (one,) = (one for one in choice.others + choice.kept if one.path == odd)
    assert (one.size, one.modified, one.root) == (status.st_size, status.st_mtime_ns, photos)
    assert len(choice.kept) == 1
    untick = 'const box = document.querySelector(":checked"); box.checked = false;'
    text, _ = rendered(acted("dup.html", untick + 'box.dispatchEvent(new Event("change", {bubbles: true}))'), tmp_path)
    Path("list.json").write_text(saved(text))
    _, (choice,) = read_choices(Path("list.json"))
    assert (len(choice.kept), len(choice.others)) == (2, 1)
    all_of_it = 'for (const box of document.querySelectorAll("[data-one]")) box.checked = true; choose()'
    text, _ = rendered(acted("dup.html", all_of_it), tmp_path)
    assert saved(text) is None
    assert '<section class="bare">' in text


def test_a_page_of_hits_has_no_boxes(photos):
    assert run(["index", "build", "photos", "-o", "photos.hix"]) == 0
    assert run(["search", "photos.hix", "photos/p1.png", "--html", "found.html"]) == 0
    text = Path("found.html").read_text()
    assert "checkbox" not in text.partition("</style>")[2].partition("<script>")[0]
    assert '<a id="save" download="dedup-list.json" hidden data-list="">' in text


def test_thumbnails_are_small_jpegs(tmp_path):
    Image.fromarray(np.repeat(np.repeat(natural_picture(100, 400), 8, 0), 8, 1)).save(tmp_path / "a.jpg")
    write_gallery(tmp_path / "a.html", "T", "N", [Wall("h", "r", [Tile(tmp_path / "a.jpg")])])
    uri = next(s for s in Page((tmp_path / "a.html").read_text()).sources if s.startswith("data:image"))
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert image.format == "JPEG"
    assert image.size == (720, 180)
