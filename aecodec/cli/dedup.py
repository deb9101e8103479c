"""``aecodec dedup``: groups of pictures that are nearly the same, and what is done about them. Nothing is deleted."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contracts import IndexFileError, UsageError
from ..index.postgres.address import Address
from .dedup_actions import act, action_of, apply_choices, put_back, tell_script
from .dedup_groups import Opened, pairs_of, tell_found, write_page
from .hashing import (
    Source,
    backend_option,
    decoder,
    fetch_index,
    hasher_options,
    hashing_bar,
    open_reader,
    table_options,
    tell_failures,
    tell_passed_over,
)
from .numbers import Whole
from .output import notice
from .writing import check_outputs

if TYPE_CHECKING:
    from ..index.hash_index import HashIndex
    from ..search.moving import Action

#: Pictures from which on tables of parts of codes find all groups sooner than scans do, one per picture.
MANY = 50_000
#: Options of a run that finds groups, and of one that does something about them.
_FINDING = (
    "source",
    "against",
    "where",
    "max_distance",
    "turned",
    "windows",
    "page",
    "force",
    "fail_on_found",
    "where",
    "hasher",
)
_ACTING = ("move_to", "trash", "link", "log", "script")


@click.command()
@click.argument("source", metavar="[FOLDER|INDEX]", required=False, type=Source())
@click.option("--against", metavar="FOLDER|INDEX", type=Source(), help="Only groups with pictures of both.")
@click.option(
    "--max-distance",
    type=Whole(0, 4096),
    metavar="BITS",
    help="How far from the first of its group a picture may be; 1 of 64 bits, 5 of 128, 14 of 256 unless given.",
)
@click.option("--turned", is_flag=True, help="Find mirrored and turned copies as well; reads all pictures.")
@click.option("--windows", is_flag=True, help="Find crops as well, by windows of the pictures.")
@click.option(
    "--keep",
    type=click.Choice(["best", "largest", "oldest", "newest", "sharpest"]),
    default="best",
    show_default=True,
    help="Which picture of a group comes first and stays.",
)
@click.option("--move-to", type=click.Path(path_type=Path), metavar="DIR", help="Move the others there.")
@click.option("--trash", is_flag=True, help="Move the others to the trash.")
@click.option("--link", type=click.Choice(["hard", "sym"]), help="Replace exact copies by links to the first.")
@click.option("--log", type=click.Path(path_type=Path), metavar="FILE", help="Where the log of it is written.")
@click.option("--script", is_flag=True, help="Print the commands of a shell that would do it instead.")
@click.option("--undo", type=click.Path(path_type=Path), metavar="LOG", help="Put back what a log tells of.")
@click.option("--apply", "choices", type=click.Path(path_type=Path), metavar="LIST", help="Take what a page saved.")
@click.option("--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with thumbnails.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the page if it exists.")
@click.option("--fail-on-found", is_flag=True, help="Exit code 1 if there is any group.")
@table_options
@backend_option
@hasher_options
@click.option("--json", "as_json", is_flag=True, help="One JSON line per group on stdout, and per picture moved.")
@click.pass_context
def dedup(context: click.Context, undo: Path | None, choices: Path | None, **options: Any) -> int:
    """Group the pictures of a folder or an index that look nearly the same. Changes nothing unless it is told to.

    The one to keep comes first in its group; the others are at most --max-distance bits from it, as transparent, and of
    as many frames. They are moved with --move-to or --trash, never deleted, and --undo puts them back.
    """
    if undo is not None:
        _refuse(context, (*_FINDING, *_ACTING, "choices", "keep"), "--undo")
        return put_back(undo, options["as_json"])
    action = action_of(options.pop("move_to"), options.pop("trash"), options.pop("link"))
    if action is None and (options["log"] or options["script"]):
        raise UsageError("--log and --script go with --move-to, --trash or --link")
    if options["script"] and (options["log"] or options["as_json"] or options["page"]):
        raise UsageError("--script prints commands alone: no --log, --json or --html")
    if options["log"] is not None:
        check_outputs([(options["log"], "the log")], overwrite=False, advice="a log is never replaced")
    if choices is not None:
        _refuse(context, (*_FINDING, "keep"), "--apply")
        return apply_choices(choices, action, options["log"], script=options["script"], as_json=options["as_json"])
    if options["source"] is None:
        raise UsageError("dedup takes a FOLDER or INDEX, --undo LOG or --apply LIST")
    return _find(_Run(action=action, **options))


def _refuse(context: click.Context, names: tuple[str, ...], option: str) -> None:
    """Raises UsageError for the first option given that has no meaning beside another one."""
    from click.core import ParameterSource

    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name in names:
            raise UsageError(
                f"{option} does not go with {parameter.opts[0] if parameter.name != 'source' else 'SOURCE'}"
            )


@dataclass(frozen=True)
class _Run:
    """The options of a run that finds groups. action: what is done about them, if anything."""

    action: Action | None
    source: Path | Address
    against: Path | Address | None
    max_distance: int | None
    turned: bool
    windows: bool
    keep: str
    log: Path | None
    script: bool
    page: Path | None
    force: bool
    fail_on_found: bool
    where: tuple[str, ...]
    backend: str
    hasher: str | None
    device: str
    jobs: int
    quiet: bool
    as_json: bool


def _find(run: _Run) -> int:
    """Find groups, tell of them, and do what is to be done."""
    from ..search.duplicates import groups, near
    from ..search.keeping import Keeping
    from ..search.moving import alone

    with ExitStack() as held:
        given = {
            path: None if isinstance(path, Path) and path.is_dir() else fetch_index(path, run.backend, run.where)
            for path in _sources(run)
        }
        if run.action is not None:
            roots = [_folder(path) if index is None else Path(index.root) for path, index in given.items()]
            run.action.check(roots)
            if not run.script:
                held.enter_context(alone(roots[:1]))
        opened = _open_both(run, given)
        first, other = opened.first, opened.other
        radius = near(first.n_bits) if run.max_distance is None else run.max_distance
        windows = None
        if run.windows:
            windows = near(first.n_bits, windows=True) if run.max_distance is None else run.max_distance
        if run.backend == "auto" and len(first) >= MANY:
            first.use("multi-index")
        keeping = Keeping(run.keep, decoder(run.device), jobs=run.jobs)
        turned = _turned(run, opened)
        found = groups(first, radius, other, rank=keeping.rank, turned=turned, windows=windows)
        if not run.script:
            summary = tell_found(opened, found, keeping, radius, windows, as_json=run.as_json)
            if run.page is not None:
                write = partial(write_page, device=run.device, jobs=run.jobs, force=run.force)
                write(run.page, summary, opened, found, keeping)
        code = opened.code
        if run.action is not None:
            pairs = pairs_of(found, keeping, opened)
            if run.script:
                tell_script(pairs, run.action)
            else:
                code = act(pairs, run.action, run.log, opened.roots, run.as_json) or code
                _tell_stale(given)
    return 1 if code or (found and run.fail_on_found) else 0


def _sources(run: _Run) -> list[Path | Address]:
    """What was given to look into, each once."""
    return list(dict.fromkeys(path for path in (run.source, run.against) if path is not None))


def _folder(given: Path | Address) -> Path:
    """What is no index is one."""
    assert isinstance(given, Path)
    return given


def _open_both(run: _Run, opened: dict[Path | Address, HashIndex | None]) -> Opened:
    """The indexes, made in memory for folders. An index tells the hasher."""
    from ..search.building import fitted, folder_index
    from ..search.duplicates import COPY_BITS

    given = [index for index in opened.values() if index is not None]
    for path, index in opened.items() if run.windows else ():
        if index is not None and not index.layout:
            raise IndexFileError(f"{path}: has no windows; index build --windows makes an index that has")
    pages = [] if run.page is None else [(run.page, "the page")]
    roots = [index.root or None for index in given]
    files = [path for path in opened if isinstance(path, Path)]
    check_outputs(pages, overwrite=run.force, inputs=[*files, run.hasher, *roots])
    pattern, reader, code = next(iter(given), None), None, 0
    made: dict[Path | Address, HashIndex | None] = {}
    folders = [_folder(path) for path, index in opened.items() if index is None]
    if folders:
        reader = open_reader(run.hasher, run.device, run.jobs, index=pattern, windows=run.windows)
        if pattern is None and COPY_BITS in reader.hasher.lengths:
            reader = reader.shortened(COPY_BITS)
        for folder in folders if pattern is None else ():
            reader = fitted(reader, folder)
    for path, index in opened.items():
        if index is not None or reader is None:
            made[path] = index
            continue
        with hashing_bar(run.quiet) as advance:
            fresh, report = folder_index(_folder(path), reader, jobs=run.jobs, advance=advance)
        fresh.use(run.backend)
        made[path] = fresh
        code = tell_failures(report.failures, run.as_json) or code
        tell_passed_over(report)
    first, other = made[run.source], made[run.against] if run.against is not None else None
    assert first is not None
    return Opened(first, other, reader, code)


def _turned(run: _Run, opened: Opened) -> list[Any] | None:
    """The codes of all pictures in all turns, if they are wanted."""
    from ..search.turning import turned_index

    if not run.turned:
        return None
    reader = opened.reader or open_reader(run.hasher, run.device, run.jobs, index=opened.first)
    decode, found = decoder(run.device), []
    for index in opened.indexes:
        with hashing_bar(run.quiet) as advance:
            found.append(turned_index(index, reader, decode, jobs=run.jobs, advance=advance))
    return found


def _tell_stale(given: dict[Path | Address, HashIndex | None]) -> None:
    """An index knows pictures by their paths."""
    for path, index in given.items():
        if index is not None:
            advice = "; aecodec index sync brings it up to date" if isinstance(path, Path) else ""
            notice(f"{path}: names pictures where they were{advice}")
