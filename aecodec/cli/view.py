"""``aecodec view``: pictures in the browser of this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..contracts import AecodecError, UsageError
from .output import notice, say

if TYPE_CHECKING:
    from ..viewer.collection import Collection, Folder
    from ..viewer.searching import Search


@click.command()
@click.argument("path", required=False, metavar="[FILE|FOLDER]", type=click.Path(path_type=Path))
@click.option("--index", "index", type=click.Path(path_type=Path), metavar="FILE", help="Index to search in.")
@click.option("--hasher", metavar="NAME|PATH", help="Hasher of the index, where it is none of the zoo or the cache.")
@click.option("-m", "--model", metavar="NAME|PATH", help="A model outside the zoo and the cache.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def view(path: Path | None, index: Path | None, hasher: str | None, model: str | None, no_browser: bool) -> int:
    """Show .aec files in the browser: one FILE, all of a FOLDER, or what is dropped on the page.

    The browser decodes them. Everything is served to this machine alone, and to those alone that know the address,
    until Ctrl-C is pressed. A folder can be searched by a picture if it was indexed.
    """
    import threading
    import webbrowser

    from ..viewer.assets import find_assets
    from ..viewer.collection import Folder, NoPictures, OneFile
    from ..viewer.models import Models
    from ..viewer.pages import Pages, start_of
    from ..viewer.server import PictureServer
    from ..zoo.registry import find_model

    folder = Folder(path) if path is not None and path.is_dir() else None
    if index is not None and folder is None:
        raise UsageError("--index is for a folder")
    shown: Collection = folder or (NoPictures() if path is None else OneFile(path))
    assets = find_assets(wall=folder is not None)
    models = Models(find_model(model) if model is not None else None)
    search = None if folder is None else find_search(folder, index, hasher)
    with PictureServer(Pages(shown, assets, models, search), start_of(shown)) as server:
        say(server.url)
        if not no_browser:
            threading.Thread(target=webbrowser.open, args=(server.ticket(),), daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


def find_search(folder: Folder, index: Path | None, hasher: str | None) -> Search | None:
    """A search in the index asked for, else in the one beside the folder, photos.hix of photos, if that is of it."""
    from ..viewer.searching import Search
    from .hashing import decoder, open_index, open_reader

    path = index or folder.path.with_name(f"{folder.path.name}.hix")
    if index is None and not path.is_file():
        return None
    try:
        search = Search(
            path, folder, open_index, lambda opened: open_reader(hasher, "cpu", 1, index=opened), decoder("cpu")
        )
    except AecodecError as error:
        if index is not None:
            raise
        notice(f"{error}; there is no search")
        return None
    if index is None and not folder.is_at(search.root):
        notice(f"{path}: is the index of another folder, {search.root or 'or of none'}; --index searches in it")
        return None
    return search
