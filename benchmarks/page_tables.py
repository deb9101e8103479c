"""The tables of BD-rates on a page, put there anew from the results that they name.

    python benchmarks/page_tables.py docs/benchmarks.md

After `rate_distortion.py` has made the results anew: each table below a line that says it is from a bd_rate.md, or from
that of another metric, becomes the one of that file, with all of its rows and columns.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from aecodec.data.files import write_atomic

ROOT = Path(__file__).resolve().parents[1]
_TABLE = re.compile(
    r"(?P<mark>^<!-- from (?P<source>benchmarks/results/\w+/bd_rate\w*\.md) -->\n)(?P<rows>(?:^\|.*\n)+)", re.M
)


def renewed(text: str, root: Path = ROOT) -> str:
    """A page with the tables of the result files below `root`. Raises OSError for a file that is not there."""
    return _TABLE.sub(lambda found: found["mark"] + _rows(root / found["source"]), text)


def _rows(source: Path) -> str:
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if line.startswith("|"))


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("pages", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(pages: tuple[Path, ...]) -> None:
    for page in pages:
        text = page.read_text(encoding="utf-8")
        new = renewed(text)
        if new != text:
            write_atomic(page, new.encode(), overwrite=True)
            click.echo(f"{page}: renewed")


if __name__ == "__main__":
    main()
