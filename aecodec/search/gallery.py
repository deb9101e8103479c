"""A wall of pictures as one HTML page that needs no network: thumbnails inside, links to the files, and boxes to tick
pictures whose list the page saves."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import urllib.parse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..contracts import AecodecError
from ..data.files import write_atomic
from ..data.webpage import filled
from ..index.windows import WHOLE, Window
from .choices import VERSION, WHAT, uri_of
from .moving import Chosen
from .pictures import Decode, read_any

#: Height of a thumbnail in pixels, more than it is shown at so that it can be made larger; and the largest width.
HEIGHT, WIDTH = 240, 720
#: Pictures on a page at most: about 10 kB each.
MOST = 5000
_PAGE = Path(__file__).with_name("gallery.html")


@dataclass(frozen=True)
class Tile:
    """One picture of a wall. distance: in bits to the wall's first picture; None for that itself. remarks: what else
    there is to say. part: what of it is alike, which is framed unless it is the whole. choice: the file as it is told
    apart in a list, where there is a box; ticked: whether it is."""

    path: Path
    distance: int | None = None
    remarks: tuple[str, ...] = ()
    part: Window = WHOLE
    choice: Chosen | None = None
    ticked: bool = False


@dataclass(frozen=True)
class Wall:
    """A heading, a remark behind it, and pictures."""

    heading: str
    remark: str
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class _Thumbnail:
    uri: str
    size: str


def write_gallery(
    out: Path,
    title: str,
    note: str,
    walls: Sequence[Wall],
    *,
    decode: Decode | None = None,
    jobs: int = 1,
    overwrite: bool = False,
    roots: Sequence[Path] = (),
) -> int:
    """Write the page -> how many pictures were left out because there were more than `MOST`.

    roots: the folders that pictures with boxes lie below. Whole walls are left out, from the end. A picture that cannot
    be read any more has an empty frame that says why.
    Nobody may read a new page who may not read all pictures on it. Raises OutputExistsError, also for
    a page that is one of its pictures, or OutputError.
    """
    shown: list[Wall] = []
    count = 0
    for wall in walls:
        count += len(wall.tiles)
        if count > MOST and shown:
            break
        shown.append(wall)
    left_out = sum(len(wall.tiles) for wall in walls[len(shown) :])
    if left_out:
        note = f"{note}; {left_out} pictures of later groups are not shown"
    text = page(out, title, note, shown, decode, jobs, roots)
    pictures = dict.fromkeys(tile.path for wall in shown for tile in wall.tiles)
    write_atomic(out, text.encode("utf-8", "replace"), overwrite=overwrite, sources=pictures)
    return left_out


def page(
    out: Path,
    title: str,
    note: str,
    walls: Sequence[Wall],
    decode: Decode | None,
    jobs: int,
    roots: Sequence[Path] = (),
) -> str:
    """The text of the page; ``out`` is where it will stand, for links relative to it. Its scripts and styles are those
    of the page alone, by their hashes, whatever else might get into it; nothing is loaded."""
    paths = list(dict.fromkeys(tile.path for wall in walls for tile in wall.tiles))
    with ThreadPoolExecutor(jobs, "thumbnail") as pool:
        thumbnails = dict(zip(paths, pool.map(lambda path: _thumbnail(path, decode), paths), strict=True))
    folder = Path(os.path.abspath(out)).parent
    sections = "\n".join(_section(wall, thumbnails, folder, roots) for wall in walls)
    boxes = any(tile.choice is not None for wall in walls for tile in wall.tiles)
    begun = {"what": WHAT, "version": VERSION, "roots": [uri_of(Path(os.path.abspath(root))) for root in roots]}
    farthest = max((tile.distance or 0 for wall in walls for tile in wall.tiles), default=0)
    fields = {
        "TITLE": html.escape(title),
        "NOTE": html.escape(note),
        "FARTHEST": str(farthest),
        "LIST": html.escape(json.dumps(begun)) if boxes else "",
        "CHOOSING": "" if boxes else " hidden",
        "GROUPS": sections or '<p class="empty">Nothing was found.</p>',
    }
    return filled(_PAGE, fields)


def _section(wall: Wall, thumbnails: dict[Path, _Thumbnail | str], folder: Path, roots: Sequence[Path]) -> str:
    figures = "\n".join(_figure(tile, thumbnails[tile.path], folder, roots) for tile in wall.tiles)
    heading = f"<h2>{html.escape(wall.heading)} <span>{html.escape(wall.remark)}</span></h2>"
    return f'<section>\n{heading}\n<div class="wall">\n{figures}\n</div>\n</section>'


def _box(tile: Tile, roots: Sequence[Path]) -> str:
    """The box of a picture, with what the list tells of it: numbers as text, for nanoseconds are too many for a
    script's numbers."""
    one = tile.choice
    if one is None:
        return ""
    entry = {"uri": uri_of(one.path), "size": str(one.size), "modified": str(one.modified)}
    told = html.escape(json.dumps({**entry, "root": list(roots).index(one.root)}))
    ticked = " checked" if tile.ticked else ""
    return f'<label><input type="checkbox" data-one="{told}" autocomplete="off"{ticked}>move away</label>'


def _frame(part: Window) -> str:
    """A line around a part of a thumbnail; nothing around the whole."""
    if part == WHOLE:
        return ""
    sides = {"left": part.left, "top": part.top, "width": part.width, "height": part.height}
    style = "; ".join(f"{side}: {share:.2%}" for side, share in sides.items())
    return f'<span class="part" style="{style}"></span>'


def _figure(tile: Tile, thumbnail: _Thumbnail | str, folder: Path, roots: Sequence[Path]) -> str:
    link = urllib.parse.quote(os.fsencode(os.path.relpath(os.path.abspath(tile.path), folder)).replace(b"\\", b"/"))
    name, parent, whole = (html.escape(text) for text in (tile.path.name, tile.path.parent.name, str(tile.path)))
    if isinstance(thumbnail, str):
        inside, size = f'<div class="none">{html.escape(thumbnail)}</div>', ""
    else:
        inside, size = f'<img src="{thumbnail.uri}" alt="{name}" loading="lazy">{_frame(tile.part)}', thumbnail.size
    if tile.distance is None:
        kind, apart, distance = ' class="first"', "", 0
    else:
        bits = "bit" if tile.distance == 1 else "bits"
        kind, apart, distance = "", f"<i>{tile.distance} {bits}</i>", tile.distance
    remark = " · ".join(part for part in (apart, size, *map(html.escape, tile.remarks)) if part)
    return (
        f'<figure{kind} data-distance="{distance}" title="{whole}"><a href="{link}">{inside}</a>'
        f"<figcaption><b>{name}</b><span>{parent}</span>{remark}</figcaption>{_box(tile, roots)}</figure>"
    )


def _thumbnail(path: Path, decode: Decode | None) -> _Thumbnail | str:
    """A small JPEG as a data URI, or why there is none."""
    try:
        picture = read_any(path, HEIGHT, decode)
        size = os.stat(path).st_size
    except AecodecError as error:
        return str(error).removeprefix(f"{path}: ")
    except OSError as error:
        return error.strerror or str(error)
    image = Image.fromarray(picture.pixels)
    image.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    uri = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return _Thumbnail(uri, f"{picture.width} x {picture.height}, {size / 1000:,.0f} kB")
