"""``aecodec index merge``: indexes made one. What holds pictures beyond one machine begins here."""

from __future__ import annotations

from pathlib import Path

import click

from ..data.locks import WAIT
from .output import emit_json, notice, say, wait_option
from .writing import check_outputs

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
    kind = "pictures" if made.description.has_paths else "numbers"
    if as_json:
        counts = {kind: made.count, "twins": made.twins, "indexes": len(inputs)}
        emit_json({"event": "summary", "index": str(out), **counts})
        return
    twins = f", {made.twins} named by several taken once" if made.twins else ""
    say(f"{out}: {made.count} {kind} of {len(inputs)} index{'es' * (len(inputs) != 1)}{twins}")
