"""What the commands about indexes share: their options, opening a hasher, decoding .aec files, progress."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..contracts import AecodecError, UsageError
from ..index import INDEXES
from ..index.postgres.address import Address, is_address, parse_address
from ..index.threads import cores
from .on_ray import groups_on_ray
from .output import THREADS, bar, emit_json, fail, notice, say

if TYPE_CHECKING:
    from ..index.hash_index import HashIndex
    from ..index.postgres.table import TableIndex
    from ..search.pictures import CodeReader, Decode, Failure
    from ..search.updating import HashGroups, Report


def hasher_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of everything that hashes pictures."""
    options = [
        click.option("--hasher", metavar="NAME|PATH", help="Hasher of the zoo, the cache, or a checkpoint file."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."),
        click.option("-j", "--jobs", type=THREADS, default=cores(), help="Threads; one per core unless given."),
        click.option("--quiet", is_flag=True, help="No progress."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def backend_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which engine compares codes."""
    names = click.Choice(sorted(INDEXES))
    return click.option("--backend", type=names, default="auto", show_default=True, help="Engine.")(command)


class Source(click.ParamType):
    """An index: a file, or a table of a database by its URL."""

    name = "index"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | Address:
        """Raises UsageError, which shows no password."""
        return parse_address(value) if isinstance(value, str) and is_address(value) else Path(value)


def table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of what reads a table as it reads an index."""
    where = click.option(
        "--where",
        multiple=True,
        metavar="CONDITION",
        help="Only rows of a table that meet it: COLUMN OPERATOR VALUE. May be given several times.",
    )
    return where(command)


def open_reader(
    hasher: str | None,
    device: str,
    jobs: int,
    *,
    index: HashIndex | TableIndex | None = None,
    bits: int | None = None,
    windows: bool = False,
) -> CodeReader:
    """Files to codes, with a hasher by name or path; an index's own unless given, and with windows as it has them.

    Raises IndexFileError if the index was built with another one, UnknownName, CheckpointError, UsageError.
    """
    from ..engine.opening import limit_threads
    from ..hasher import Hasher
    from ..index.windows import LAYOUT
    from ..search.pictures import CodeReader

    if jobs > 1:
        limit_threads(1)  # each of our threads hashes pictures of its own
    opened = Hasher.from_pretrained(hasher or (index.hasher if index is not None else None), device=device)
    if index is not None:
        index.check_hasher(opened.name, opened.fingerprint)
    if index is not None:
        return CodeReader(opened, index.n_bits, decoder(device), layout=index.layout)
    return CodeReader(opened, bits, decoder(device), layout=LAYOUT if windows else 0)


def reader_on_ray(address: str, reader: CodeReader, hasher: str | None, device: str) -> HashGroups:
    """What does the work of a reader, of a hasher by name or path, by the workers of a cluster."""
    from ..ray.cluster import device_asked
    from ..zoo.registry import DEFAULT_HASHER

    device, name = device_asked(device), hasher or DEFAULT_HASHER
    opening = partial(_open_codes, name, device, reader.n_bits, bool(reader.layout))
    return groups_on_ray(address, opening, device, name)


def _open_codes(
    hasher: str, device: str, bits: int, windows: bool
) -> Callable[[Sequence[Path]], list[bytes | AecodecError]]:
    """In a worker, which has one thread: what hashes a group of files."""
    from ..engine.opening import limit_threads

    limit_threads(1)
    return open_reader(hasher, device, 1, bits=bits, windows=windows).codes


def decoder(device: str = "auto") -> Decode:
    """Bytes of an .aec file to its pixels, upright; models are found by fingerprint and loaded once."""
    from ..codec.files import Codecs, upright_decoder

    return upright_decoder(Codecs(device=device))


def open_index(path: Path, backend: str = "auto") -> HashIndex:
    """An index of paths. Raises IndexFileError, or UsageError for one of numbers."""
    from ..index.hash_index import HashIndex

    index = HashIndex.load(path, backend=backend)
    if not index.has_paths:
        raise UsageError(f"{path}: this index is of numbers, not of pictures")
    return index


def open_source(
    source: Path | Address, backend: str = "auto", where: tuple[str, ...] = (), approximate: bool = False
) -> HashIndex | TableIndex:
    """An index of paths to search: a file, or a table where it is. Raises what `HashIndex.open` and `open_index`
    raise."""
    from ..index.hash_index import HashIndex

    if isinstance(source, Address) or where or approximate:
        return HashIndex.open(source, where=where, approximate=approximate)
    return open_index(source, backend)


def fetch_index(source: Path | Address, backend: str, where: tuple[str, ...] = ()) -> HashIndex:
    """An index of paths in memory: a file, or what a table holds. Raises what `open_source` raises."""
    from ..index.hash_index import HashIndex

    opened = open_source(source, backend, where)
    if isinstance(opened, HashIndex):
        return opened
    with opened:
        return HashIndex.of(opened.description, opened.rows(), backend=backend)


@contextmanager
def changing(path: Path, wait: float) -> Iterator[HashIndex]:
    """An index of paths that nobody else changes before the end; what is read of it may be written back.

    wait: seconds, for another process that changes it. Raises BusyError, and what `open_index` raises.
    """
    from ..data.locks import locked
    from ..index.storage import read_header

    read_header(path)  # what is no index is not waited for
    with locked(path, wait=wait, say=notice):
        yield open_index(path)


def shown(path: str | Path) -> str:
    """A path for people: relative where it lies below the working folder."""
    text, here = str(path), os.path.join(os.getcwd(), "")
    return text.removeprefix(here)


@contextmanager
def hashing_bar(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar with pictures per second -> what is told how many of how many are done."""
    began = time.monotonic()
    with bar("hashing", None, quiet=quiet) as update:
        yield lambda done, total: update(
            completed=done,
            total=total,
            text=f"{done} of {total}, {done / max(time.monotonic() - began, 1e-3):.0f} pictures/s",
        )


def tell_failures(failures: Iterable[Failure], as_json: bool) -> int:
    """Each on stderr, and as JSON on request -> exit code: 1 if there are any."""
    code = 0
    for failure in failures:
        code = fail(AecodecError(failure.message), {"event": "failed", "file": failure.path} if as_json else None)
    return code


def tell_passed_over(report: Report) -> None:
    """The closing line of a walk, on stderr, if there is anything to say. What was unreadable is among the failures."""
    if report.walk is not None and report.walk.summary:
        notice(report.walk.summary)


def tell_report(path: Path, index: HashIndex, report: Report, as_json: bool) -> int:
    """What an update did, on stdout, and what the walk passed over -> exit code: 1 if a file failed."""
    code = tell_failures(report.failures, as_json)
    tell_passed_over(report)
    hashed = report.added + report.changed
    if as_json:
        emit_json(
            {
                "event": "summary",
                "index": str(path),
                "pictures": len(index),
                "added": report.added,
                "changed": report.changed,
                "removed": report.removed,
                "kept": report.kept,
                "unseen": report.unseen,
                "failed": len(report.failures),
                "seconds": round(report.seconds, 3),
                "pictures_per_second": round(report.per_second, 1),
                "bits": index.n_bits,
                "windows": index.windows.shape[1],
                "hasher": index.hasher,
            }
        )
        return code
    counts = {
        "new": report.added,
        "changed": report.changed,
        "removed": report.removed,
        "unchanged": report.kept,
        "kept unseen": report.unseen,
        "failed": len(report.failures),
    }
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    speed = f" in {report.seconds:.1f} s, {report.per_second:.0f} pictures/s" if hashed else ""
    say(f"{path}: {len(index)} pictures ({', '.join(parts) or 'nothing to do'}){speed}")
    return code
