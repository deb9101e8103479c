"""``aecodec dedup``: groups of pictures that are nearly the same. Nothing is ever deleted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .hashing import (
    backend_option,
    decoder,
    hasher_options,
    hashing_bar,
    open_index,
    open_reader,
    shown,
    tell_failures,
    tell_passed_over,
)
from .numbers import Whole
from .output import emit_json, notice, say, size_text
from .writing import check_outputs

if TYPE_CHECKING:
    from ..index.hash_index import HashIndex
    from ..search.duplicates import Member

#: Pictures from which on tables of parts of codes find all groups sooner than scans do, one per picture.
MANY = 50_000


@click.command()
@click.argument("source", metavar="FOLDER|INDEX", type=click.Path(path_type=Path))
@click.option(
    "--against", metavar="FOLDER|INDEX", type=click.Path(path_type=Path), help="Only groups with pictures of both."
)
@click.option(
    "--max-distance",
    type=Whole(0, 4096),
    metavar="BITS",
    help="How far from the first of its group a picture may be; 1 of 64 bits, 4 of 128, 10 of 256 unless given.",
)
@click.option("--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with thumbnails.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the page if it exists.")
@click.option("--fail-on-found", is_flag=True, help="Exit code 1 if there is any group.")
@backend_option
@hasher_options
@click.option("--json", "as_json", is_flag=True, help="One JSON line per group on stdout.")
def dedup(
    source: Path,
    against: Path | None,
    max_distance: int | None,
    page: Path | None,
    force: bool,
    fail_on_found: bool,
    backend: str,
    as_json: bool,
    **options: Any,
) -> int:
    """Group the pictures of a folder or an index that look nearly the same. Never deletes or changes a file.

    A group's largest file comes first; the others are at most --max-distance bits from it, as transparent, and of as
    many frames. A file of several names is no duplicate of itself.
    """
    from ..search.duplicates import groups, near

    first, other, code = _open_both(source, against, page, backend, as_json, {**options, "force": force})
    radius = near(first.n_bits) if max_distance is None else max_distance
    if backend == "auto" and len(first) >= MANY:
        first.use("multi-index")
    found = groups(first, radius, other)
    for number, members in enumerate(found, 1):
        _tell(number, members, against is not None, as_json)
    count = sum(len(members) for members in found)
    pictures = len(first) + (len(other) if other is not None else 0)
    groups_text = f"{len(found)} group{'s' * (len(found) != 1)}"
    summary = (
        f"{groups_text} of {count} pictures among {pictures}, at most {radius} of {first.n_bits} bits from the first"
    )
    if as_json:
        emit_json(
            {
                "event": "summary",
                "groups": len(found),
                "in_groups": count,
                "pictures": pictures,
                "max_distance": radius,
                "bits": first.n_bits,
            }
        )
    else:
        say(summary)
    if page is not None:
        _write_page(page, summary, found, options, force)
    return 1 if code or (found and fail_on_found) else 0


def _open_both(
    source: Path, against: Path | None, page: Path | None, backend: str, as_json: bool, options: dict[str, Any]
) -> tuple[HashIndex, HashIndex | None, int]:
    """The indexes, made in memory for folders, and 1 if a picture could not be read. An index tells the hasher."""
    from ..search.building import fitted, folder_index

    opened = {path: open_index(path, backend) for path in (source, against) if path is not None and not path.is_dir()}
    pages = [] if page is None else [(page, "the page")]
    roots = [index.root or None for index in opened.values()]
    check_outputs(pages, overwrite=options["force"], inputs=[source, against, options["hasher"], *roots])
    pattern = next(iter(opened.values()), None)
    folders = dict.fromkeys(path for path in (source, against) if path is not None and path not in opened)
    code = 0
    if folders:
        reader = open_reader(options["hasher"], options["device"], options["jobs"], index=pattern)
        for folder in folders if pattern is None else ():
            reader = fitted(reader, folder)
    for folder in folders:
        with hashing_bar(options["quiet"]) as advance:
            opened[folder], report = folder_index(folder, reader, jobs=options["jobs"], advance=advance)
        opened[folder].use(backend)
        code = tell_failures(report.failures, as_json) or code
        tell_passed_over(report)
    return opened[source], opened[against] if against is not None else None, code


def _tell(number: int, members: list[Member], two: bool, as_json: bool) -> None:
    if as_json:
        pictures = [
            {"path": str(m.path), "distance": m.distance, "bytes": m.size, **({"source": m.source} if two else {})}
            for m in members
        ]
        emit_json({"event": "group", "group": number, "pictures": pictures})
        return
    say(f"group {number}")
    for member in members:
        mark = ("< ", "> ")[member.source] if two else ""
        say(f"{member.distance:4d}  {mark}{shown(member.path)}  ({size_text(member.size)})")


def _write_page(page: Path, note: str, found: list[list[Member]], options: dict[str, Any], force: bool) -> None:
    from ..search.gallery import Tile, Wall, write_gallery

    walls = []
    for number, members in enumerate(found, 1):
        farthest = max(member.distance for member in members)
        apart = f"up to {farthest} bit{'s' * (farthest != 1)} apart" if farthest else "the same code"
        remark = f"{len(members)} pictures, {apart}"
        tiles = [Tile(member.path, member.distance if place else None) for place, member in enumerate(members)]
        walls.append(Wall(f"Group {number}", remark, tiles))
    decode = decoder(options["device"])
    left_out = write_gallery(page, "Duplicates", note, walls, decode=decode, jobs=options["jobs"], overwrite=force)
    if left_out:
        notice(f"{page}: {left_out} pictures did not fit on the page")
