"""``aecodec web``: a folder of pictures as a static site."""

from __future__ import annotations

from pathlib import Path

import click

from ..data.folders import counted
from .output import emit_json, fail, notice, say, size_text


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of the site.")
@click.option("--title", metavar="TEXT", help="Heading of the page; the folder's name unless given.")
@click.option("--pictures", is_flag=True, help="Take JPEG, PNG and what else browsers show as well.")
@click.option("--link", is_flag=True, help="Hard links to the pictures instead of copies.")
@click.option("-m", "--model", metavar="NAME|PATH", help="A model outside the zoo and the cache.")
@click.option("-f", "--force", is_flag=True, help="Overwrite files that are not the site's own.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line on stdout.")
def web(
    folder: Path,
    output: Path,
    title: str | None,
    pictures: bool,
    link: bool,
    model: str | None,
    force: bool,
    as_json: bool,
) -> int:
    """The .aec files of FOLDER as a site: a page of thumbnails, decoded in the browser, that any web server can serve.

    A second run updates it. Nothing is removed from it.
    """
    from ..coding.container import SUFFIX
    from ..viewer.assets import find_assets
    from ..viewer.collection import SHOWN, Folder
    from ..viewer.models import Models
    from ..viewer.site import write_site
    from ..zoo.registry import find_model

    shown = Folder(folder, SHOWN if pictures else frozenset({SUFFIX}))
    models = Models(find_model(model) if model is not None else None)
    done = write_site(output, shown, find_assets(wall=True), models, title=title, overwrite=force, link=link)
    for path, error in done.failures:
        fail(error, {"event": "failed", "file": str(path)} if as_json else None)
    for note in done.notes:
        notice(note)
    if done.left:
        count = counted(len(done.left), "file")
        notice(f"{output}: {count} of former runs, such as {done.left[0]}, not shown any more but still there")
    if as_json:
        emit_json(
            {
                "event": "summary",
                "site": str(output),
                "pictures": done.pictures,
                "models": done.models,
                "written": done.written,
                "unchanged": done.unchanged,
                "bytes": done.size,
                "left": done.left,
                "failed": len(done.failures),
            }
        )
    else:
        say(
            f"{output}: {counted(done.pictures, 'picture')}, {counted(done.models, 'model')}, {size_text(done.size)} "
            f"({counted(done.written, 'file')} written, {done.unchanged} unchanged)"
        )
    return int(bool(done.failures))
