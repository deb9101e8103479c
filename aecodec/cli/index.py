"""``aecodec index``: build, add to, take from, sync and look at an index of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contracts import UsageError
from .exchange import JSON, LOCK, bring_in, export, merge, push
from .hashing import (
    changing,
    hasher_options,
    hashing_bar,
    open_index,
    open_reader,
    reader_on_ray,
    shown,
    tell_failures,
    tell_report,
)
from .numbers import SECONDS_LIMIT, Real, Whole
from .on_ray import ray_option
from .output import emit_json, notice, say, size_text
from .writing import check_outputs

if TYPE_CHECKING:
    from ..index.hash_index import HashIndex
    from ..search.pictures import CodeReader
    from ..search.syncing import SyncPlan
    from ..search.updating import Report

INDEX = click.argument("path", metavar="INDEX", type=click.Path(path_type=Path))
EVERY = click.option(
    "--save-every",
    type=Real(0, SECONDS_LIMIT),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How often an unfinished index is written.",
)


@click.group()
def index() -> None:
    """Indexes of pictures: one file of codes, paths and times; pictures themselves are never touched."""


for command in (merge, export, bring_in, push):
    index.add_command(command)


@index.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Index file to write.")
@click.option(
    "--bits",
    type=Whole(8, 4096),
    help="Length of a code. Unless given: that of the hashes in .aec files, or all that the hasher has.",
)
@click.option("--windows", is_flag=True, help="Keep codes of windows as well, so that crops are found.")
@click.option("-f", "--force", is_flag=True, help="Overwrite the index if it exists.")
@EVERY
@LOCK
@hasher_options
@ray_option
@JSON
def build(
    folder: Path,
    output: Path,
    bits: int | None,
    windows: bool,
    force: bool,
    save_every: float,
    wait: float,
    ray: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Index all pictures and .aec files below FOLDER.

    A build that was killed goes on where INDEX.partial says it was; anything else of that name is left alone.
    Files whose names begin with a dot are passed over; those that cannot be read are reported and skipped, and the
    exit code is 1.
    """
    from ..search import building

    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    check_outputs([(output, str(folder))], overwrite=force, inputs=[folder, options["hasher"]])
    reader = open_reader(options["hasher"], options["device"], options["jobs"], bits=bits, windows=windows)
    if bits is None:
        reader = building.fitted(reader, folder)
    hashing = None if ray is None else reader_on_ray(ray, reader, options["hasher"], options["device"])
    with hashing_bar(options["quiet"]) as advance:
        built, report = building.build(
            folder,
            output,
            reader,
            overwrite=force,
            jobs=options["jobs"],
            hashing=hashing,
            every=save_every,
            wait=wait,
            say=notice,
            advance=advance,
        )
    return tell_report(output, built, report, as_json)


@index.command()
@INDEX
@click.argument("pictures", nargs=-1, required=True, metavar="FILE|FOLDER...", type=click.Path(path_type=Path))
@EVERY
@LOCK
@hasher_options
@JSON
def add(path: Path, pictures: tuple[Path, ...], save_every: float, wait: float, as_json: bool, **options: Any) -> int:
    """Add files, or all pictures in folders; known and unchanged ones are left alone.

    Pictures outside the indexed folder are kept by their absolute paths.
    """
    from ..search import building

    def work(opened: HashIndex, reader: CodeReader, **how: Any) -> Report:
        return building.add(opened, pictures, reader, **how)

    return _hash_into(path, work, wait, save_every, as_json, options)


@index.command()
@INDEX
@click.argument("pictures", nargs=-1, required=True, metavar="FILE|FOLDER...")
@LOCK
@JSON
def remove(path: Path, pictures: tuple[str, ...], wait: float, as_json: bool) -> int:
    """Take files, or all below folders, out of the index. The files themselves stay; they need not exist."""
    from ..search import building

    with changing(path, wait) as opened:
        report = building.remove(opened, pictures)
        opened.save(path, overwrite=True)
    return tell_report(path, opened, report, as_json)


@index.command()
@INDEX
@click.option("--allow-empty", is_flag=True, help="Drop what empty folders held, and more than half of all.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@EVERY
@LOCK
@hasher_options
@JSON
def sync(
    path: Path, allow_empty: bool, dry_run: bool, save_every: float, wait: float, as_json: bool, **options: Any
) -> int:
    """Bring the index up to date with its folder: hash what is new or changed, drop what vanished.

    A file counts as changed if its size or its modification time did. What could not be looked at is kept, and the exit
    code is 1.
    """
    from ..search import building, syncing

    if dry_run:
        opened = open_index(path)
        plan = syncing.plan_sync(opened, allow_empty=allow_empty)
        code = _tell_plan(plan, as_json)
        if not allow_empty:
            plan.check(opened)
        return code
    work = partial(building.sync, allow_empty=allow_empty)
    return _hash_into(path, work, wait, save_every, as_json, options)


def _hash_into(
    path: Path, work: Callable[..., Report], wait: float, save_every: float, as_json: bool, options: Mapping[str, Any]
) -> int:
    """Hold the index while ``work(index, reader, **how)`` hashes pictures into it; what came of it is told -> exit
    code. options: those of `hasher_options`."""
    with changing(path, wait) as opened:
        reader = open_reader(options["hasher"], options["device"], options["jobs"], index=opened)
        with hashing_bar(options["quiet"]) as advance:
            report = work(
                opened,
                reader,
                jobs=options["jobs"],
                every=save_every,
                advance=advance,
                save=lambda: opened.save(path, overwrite=True),
            )
    return tell_report(path, opened, report, as_json)


def _tell_plan(plan: SyncPlan, as_json: bool) -> int:
    """What a sync would do, a line for each picture -> exit code: 1 if something could not be looked at."""
    code = tell_failures(plan.failures, as_json)
    actions = [("hash", picture.id) for picture in plan.fresh]
    actions += [("drop", name) for name in plan.gone] + [("keep", name) for name in plan.unseen]
    for action, name in actions:
        if as_json:
            emit_json({"event": f"would {action}", "file": name})
        else:
            say(f"{action} {name}")
    if plan.walk.summary:
        notice(plan.walk.summary)
    return code


@index.command()
@INDEX
@JSON
def info(path: Path, as_json: bool) -> None:
    """What an index holds, and which backend searches it on a processor.

    Reads all of it and verifies every checksum; needs no hasher.
    """
    from ..index.choice import choose
    from ..index.hash_index import HashIndex

    found = HashIndex.load(path)
    backend, reason = choose(len(found), found.n_bits, 1, "cpu")
    record = {
        "file": str(path),
        "rows": len(found),
        "ids": "paths" if found.has_paths else "numbers",
        "bits": found.n_bits,
        "windows": found.windows.shape[1],
        "hasher": found.hasher,
        "fingerprint": found.fingerprint.hex(),
        "root": found.root,
        "bytes": path.stat().st_size,
        "backend": backend,
        "backend_reason": reason,
    }
    if as_json:
        emit_json(record)
        return
    windows = f", {record['windows']} windows each" if found.layout else ""
    say(f"{path}: {record['rows']} {record['ids']}, {record['bits']} bits{windows}, {size_text(path.stat().st_size)}")
    say(f"  hasher  {found.hasher}, fingerprint {record['fingerprint']}")
    say(f"  backend {backend} ({reason})")
    if found.root:
        say(f"  folder  {shown(found.root)}")
