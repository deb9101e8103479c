"""``aecodec index merge``, ``export``, ``import``, ``push``: indexes made one, and handed to other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..contracts import UsageError
from ..data.locks import WAIT
from .output import bar, emit_json, notice, say, wait_option
from .writing import check_outputs

if TYPE_CHECKING:
    from ..index.merging import Merged

JSON = click.option("--json", "as_json", is_flag=True, help="JSON Lines on stdout.")
LOCK = wait_option(WAIT)
FORCE = click.option("-f", "--force", is_flag=True, help="Overwrite the file if it exists.")


@click.command()
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@FORCE
@LOCK
@JSON
def merge(out: Path, inputs: tuple[Path, ...], force: bool, wait: float, as_json: bool) -> None:
    """Make OUT of the rows of all IN, which must be of one hasher.

    Its folder is that of the first. Pictures outside it get absolute paths. A path that several name is taken once,
    with the latest modification time. Takes the memory of a block of rows, however many there are.
    """
    from ..index import merging

    check_outputs([(out, "the index")], overwrite=force, inputs=inputs)
    made = merging.merge(out, inputs, overwrite=force, wait=wait, say=notice)
    _tell(out, made, f" of {len(inputs)} index{'es' * (len(inputs) != 1)}", as_json)


def _tell(out: Path, made: Merged, source: str, as_json: bool) -> None:
    kind = "pictures" if made.description.has_paths else "numbers"
    if as_json:
        emit_json({"event": "summary", "index": str(out), kind: made.count, "twins": made.twins})
        return
    twins = f", {made.twins} named again taken once" if made.twins else ""
    say(f"{out}: {made.count} {kind}{source}{twins}")


@click.command()
@click.argument("path", metavar="INDEX", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "target",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="A .parquet, .npz or .jsonl file; - for JSON Lines on stdout.",
)
@FORCE
def export(path: Path, target: Path, force: bool) -> None:
    """Write all rows of INDEX for other programs: codes, paths, sizes and times, and which hasher they are of."""
    from ..index import exchange

    if str(target) == "-":
        if sys.stdout is None:
            raise UsageError("there is no stdout")
        exchange.export(path, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    check_outputs([(target, "the file")], overwrite=force, inputs=[path])
    say(f"{target}: {exchange.export(path, target, overwrite=force)} rows of {path}")


@click.command("import")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Index file to write.")
@FORCE
@LOCK
@JSON
def bring_in(source: Path, output: Path, force: bool, wait: float, as_json: bool) -> None:
    """Make an index of FILE, a .parquet, .npz or .jsonl file as `index export` writes them; - for JSON Lines on stdin.

    Rows may come in any order.
    """
    from ..index import exchange

    piped = str(source) == "-"
    check_outputs([(output, "the index")], overwrite=force, inputs=[] if piped else [source])
    if piped and sys.stdin is None:
        raise UsageError("there is no stdin")
    given = sys.stdin.buffer if piped else source
    made = exchange.bring_in(given, output, overwrite=force, wait=wait, say=notice)
    _tell(output, made, f" of {source}", as_json)


@click.command()
@click.argument("path", metavar="INDEX", type=click.Path(path_type=Path))
@click.option("--to", "url", metavar="URL", required=True, help="postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
@click.option("--table", help="Name of the table; it may stand at the end of the URL instead.")
@click.option("--hnsw", is_flag=True, help="Make an index for approximate search as well, if there is none.")
@click.option("--quiet", is_flag=True, help="No progress.")
@JSON
def push(path: Path, url: str, table: str | None, hnsw: bool, quiet: bool, as_json: bool) -> None:
    """Bring the rows of INDEX into a table of a PostgreSQL database with pgvector, which is made if it is not there.

    A row takes the place of one with the same path, unless that is of a later modification time. Nothing is removed,
    and pushing again changes nothing; a push that was broken off is completed by another one.
    """
    from ..index.postgres.address import parse_address
    from ..index.postgres.pushing import push as push_rows

    address = parse_address(url, table)
    with bar("pushing", None, quiet=quiet) as update:
        done = push_rows(
            path,
            address,
            hnsw=hnsw,
            advance=lambda done, total: update(completed=done, total=total, text=f"{done} of {total} rows"),
        )
    if as_json:
        emit_json({"event": "summary", "table": str(address), "pictures": done.rows, "changed": done.changed})
    else:
        say(f"{address}: {done.rows} pictures, {done.changed} new or changed")
    if done.windows:
        notice(f"{path}: the codes of windows stay here; a table holds those of whole pictures")
