"""The built pages, and what they load: scripts, styles, the decoder as WebAssembly."""

from __future__ import annotations

from pathlib import Path

from ..contracts import MissingDependencyError

#: What `scripts/build_web` makes; a wheel holds it.
BUILT = Path(__file__).parents[1] / "web" / "dist"
#: The pages as they are built: of a folder, and of a single file. Either is served as the latter.
WALL, INDEX = "wall.html", "index.html"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}


def find_assets(*, wall: bool, built: Path | None = None) -> dict[str, Path]:
    """Address -> file, of all that pages load. wall: whether the page is that of a folder. built: where they are.

    Raises MissingDependencyError where nothing was built.
    """
    built = BUILT if built is None else built
    files = {path.relative_to(built).as_posix(): path for path in sorted(built.rglob("*")) if path.suffix in TYPES}
    if not {WALL, INDEX} <= set(files):
        raise MissingDependencyError(
            f"{built}: the viewer is not built; in a checkout, scripts/build_web builds it (with node and npm)"
        )
    folder = files.pop(WALL)
    return {**files, INDEX: folder} if wall else files
