"""``aecodec search``: pictures of an index that look like a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contracts import error_of
from ..index.postgres.address import Address
from .hashing import Source, backend_option, decoder, hasher_options, open_reader, open_source, shown, table_options
from .numbers import MANY, Whole
from .output import emit_json, fail, notice, say
from .writing import check_outputs

if TYPE_CHECKING:
    from ..search.queries import Answer, Hit


@click.command()
@click.argument("source", metavar="INDEX", type=Source())
@click.argument("queries", nargs=-1, required=True, metavar="QUERY...", type=click.Path(path_type=Path))
@click.option("-k", type=Whole(1, MANY), help="How many; 10 unless --max-distance is given.")
@click.option("--max-distance", type=Whole(0, 4096), metavar="BITS", help="Only pictures at most so far away.")
@click.option("--turned", is_flag=True, help="Find mirrored and turned pictures as well.")
@click.option("--copy-to", type=click.Path(path_type=Path), metavar="DIR", help="Copy the pictures found there.")
@click.option("--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with thumbnails.")
@click.option("--origin", is_flag=True, help="Say what is alike of each; on a terminal that is said anyway.")
@click.option("--outside", is_flag=True, help="Copy pictures outside the indexed folder as well.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the page and copies that exist.")
@table_options
@click.option("--approximate", is_flag=True, help="Let an HNSW index of a table answer.")
@backend_option
@hasher_options
@click.option("--json", "as_json", is_flag=True, help="One JSON line per query on stdout.")
def search(
    source: Path | Address,
    queries: tuple[Path, ...],
    k: int | None,
    max_distance: int | None,
    turned: bool,
    copy_to: Path | None,
    page: Path | None,
    origin: bool,
    outside: bool,
    force: bool,
    where: tuple[str, ...],
    approximate: bool,
    backend: str,
    as_json: bool,
    **options: Any,
) -> int:
    """The pictures of INDEX nearest to each QUERY, a picture or .aec file: distance in bits, then path.

    INDEX is a file, or a table that `index push` made: postgresql://USER@HOST:PORT/DATABASE/TABLE.
    """
    from ..data.files import make_folder
    from ..data.outputs import output_in
    from ..search.queries import answer, copy_hits

    opened = open_source(source, backend, where, approximate)
    given = [source] if isinstance(source, Path) else []
    pages = [] if page is None else [(page, "the page")]
    check_outputs(pages, overwrite=force, inputs=[*given, *queries, options["hasher"], opened.root or None])
    reader = open_reader(options["hasher"], options["device"], options["jobs"], index=opened)
    decode = decoder(options["device"])
    k = 10 if k is None and max_distance is None else k
    answers, codes = [], []
    for found in answer(opened, reader, queries, k=k, max_distance=max_distance, turned=turned, decode=decode):
        answers.append(found)
        if found.error is not None:
            codes.append(fail(found.error, {"query": str(found.query)} if as_json else None))
            continue
        _tell(found, as_json, several=len(queries) > 1, origin=origin or sys.stdout.isatty())
        if copy_to is not None and found.hits:
            try:
                name = f"{len(answers):03d}_{found.query.stem}"
                folder = output_in(copy_to, name) if len(queries) > 1 else copy_to
                make_folder(folder)
                copy_hits(found.hits, folder, None if outside else Path(opened.root), overwrite=force)
            except Exception as fault:
                codes.append(fail(error_of(str(copy_to), fault)))
    if page is not None:
        _write_page(page, opened.root or str(source), answers, decode, options["jobs"], force)
    return (codes[0] if len(queries) == 1 else 1) if codes else 0


def _tell(found: Answer, as_json: bool, several: bool, origin: bool) -> None:
    """Programs read a line as a distance and a path, so what is behind the path is for those who ask, or look."""
    if as_json:
        emit_json({"query": str(found.query), "hits": [_record(hit) for hit in found.hits]})
        return
    if several:
        say(f"{found.query}:")
    for hit in found.hits:
        marks = f"  ({', '.join(hit.marks)})" if origin and hit.marks else ""
        say(f"{hit.distance:4d}  {shown(hit.path)}{marks}")


def _record(hit: Hit) -> dict[str, Any]:
    """A hit for JSON. Parts are left, top, width and height in shares of the sides, null for the whole."""
    from ..search.turning import TURNS
    from ..search.windows import part_record

    return {
        "path": str(hit.path),
        "id": hit.id,
        "distance": hit.distance,
        "part": part_record(hit.part),
        "query_part": part_record(hit.query_part),
        "turned": TURNS[hit.turn] or None,
        "code": "stored" if hit.stored else "pixels",
    }


def _write_page(page: Path, name: str, answers: list[Answer], decode: Any, jobs: int, force: bool) -> None:
    from ..search.gallery import Tile, Wall, write_gallery

    walls = [
        Wall(
            found.query.name,
            f"{len(found.hits)} found",
            [
                Tile(found.query),
                *(Tile(hit.path, hit.distance, remarks=tuple(hit.marks), part=hit.part) for hit in found.hits),
            ],
        )
        for found in answers
        if found.error is None
    ]
    count = sum(len(found.hits) for found in answers)
    note = f"{count} pictures like {len(walls)} of {shown(name)}"
    left_out = write_gallery(page, "Pictures found", note, walls, decode=decode, jobs=jobs, overwrite=force)
    if left_out:
        notice(f"{page}: {left_out} pictures did not fit on the page")
