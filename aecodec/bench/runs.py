"""A run: every picture through every codec at every quality, kept row by row so that it can be interrupted."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from ..contracts import OutputExistsError, UsageError
from ..data.files import make_folder, write_atomic
from ..data.folders import Walk
from ..data.locks import Say, locked
from ..data.records import read_object
from . import provenance
from .codecs import FileCodec
from .complexity import kmac_per_pixel
from .measurements import (
    Measurement,
    RunError,
    append_row,
    lacks,
    measure,
    pictures_in,
    read_rgb,
    read_rows,
    write_rows,
)
from .opening import CodecSpec
from .results import RUN_FILE, SIDECAR, is_run

#: What a codec may raise on one picture without ending the run.


@dataclass(frozen=True)
class Result:
    """What came of one picture at one quality: a row, or why there is none."""

    quality: float
    picture: Path
    row: Measurement | None
    error: str = ""


@contextmanager
def only_run(out: Path, *, wait: float = 0.0, say: Say = lambda message: None) -> Iterator[None]:
    """The run's folder, made, and no other run in it; see `locks.locked`. Raises BusyError or OutputError."""
    make_folder(out)
    with locked(out / RUN_FILE, wait=wait, say=say):
        yield


def start(out: Path, *, resume: bool) -> None:
    """Make the run's folder. Raises OutputExistsError if it holds a run and resuming was not asked for."""
    make_folder(out)
    if not resume and is_run(out):
        raise OutputExistsError(f"{out}: holds a run already (use --resume to go on with it)")


def find_pictures(folder: Path, limit: int | None = None, walk: Walk | None = None) -> list[Path]:
    """The pictures of a folder, as `pictures_in` finds them. Raises UsageError if there is no folder, or none in it."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    found = pictures_in(folder, limit, walk)
    if not found:
        raise UsageError(f"{folder}: no pictures in it")
    stems = [path.stem for path in found]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise UsageError(f"{folder}: several pictures are called {', '.join(twice)}; rows could not be told apart")
    return found


def kept_rows(path: Path, codec: FileCodec, metrics: tuple[str, ...], resume: bool) -> list[Measurement]:
    """Rows of an earlier run that may stand: of the same codec in the same version, with every metric asked for.

    A row of a quality that is not measured this time stands as it is, whatever it lacks.
    """
    if not resume or not path.exists():
        return []
    rows = [row for row in read_rows(path) if row.codec == codec.name and row.version == codec.version]
    return [row for row in rows if row.quality not in codec.qualities or not lacks(row, metrics)]


def keep_provenance(path: Path, codec: FileCodec, new_rows: int, first: bool, folder: Path, **more: Any) -> None:
    """The sidecar: what the codec is, and every run that measured some of the rows."""
    runs: list[dict[str, Any]] = []
    if not first and path.exists():
        runs = read_object(path, RunError, {"runs": SIDECAR["runs"]})["runs"]
    if new_rows or not runs:
        runs.append(provenance.collect(pictures=folder.name, rows=new_rows, **more))
    content = {
        "codec": codec.name,
        "settings": codec.settings,
        "version": codec.version,
        "learned": codec.learned,
        "runs": runs,
    }
    write_atomic(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode(), overwrite=True)


def warm_up(codec: FileCodec, picture: Path) -> None:
    """Once without a clock: the first call pays for lazy imports and allocations that later ones do not."""
    codec.decode(codec.encode(read_rgb(picture), codec.qualities[0]))


def wanted(codec: FileCodec, pictures: list[Path], rows: Iterable[Measurement]) -> list[tuple[float, Path]]:
    """(quality, picture) of what is not measured yet."""
    done = {row.key for row in rows}
    return [
        (quality, picture)
        for quality in codec.qualities
        for picture in pictures
        if (codec.name, codec.version, float(quality), picture.stem) not in done
    ]


class Runner:
    """Measures codecs one after the other with one or several processes.

    metrics: columns of METRICS. jobs: processes; with more than one, each network runs on one thread, and times are
    those of a machine that does other things at once. advance: called with 1 whenever a measurement is over, failed
    or not.
    """

    def __init__(
        self,
        out: Path,
        metrics: tuple[str, ...],
        *,
        resume: bool,
        jobs: int,
        say: Say,
        advance: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.out, self.metrics, self.resume, self.jobs = out, metrics, resume, jobs
        self.say, self.advance = say, advance

    def run(self, spec: CodecSpec, codec: FileCodec, pictures: list[Path]) -> int:
        """Measure what is missing of a codec -> the number of failures, each said. codec: the spec's, opened."""
        path = self.out / f"{codec.name}.csv"
        rows = kept_rows(path, codec, self.metrics, self.resume)
        kept, failures = len(rows), 0
        todo = wanted(codec, pictures, rows)
        self.advance(len(pictures) * len(codec.qualities) - len(todo))
        write_rows(path, rows)
        for result in self._results(spec, codec, todo):
            self.advance(1)
            if result.row is None:
                failures += 1
                self.say(f"{codec.name} quality {result.quality:g}, {result.picture.name}: FAILED: {result.error}")
                continue
            rows.append(result.row)
            append_row(path, result.row)
        write_rows(path, rows)
        more: dict[str, Any] = {"jobs": self.jobs}
        if codec.learned and len(rows) > kept:
            more["kmac_per_pixel"] = kmac_per_pixel(codec, read_rgb(_named(pictures, rows[-1].image)))
        keep_provenance(path.with_suffix(".json"), codec, len(rows) - kept, kept == 0, pictures[0].parent, **more)
        return failures

    def _results(self, spec: CodecSpec, codec: FileCodec, todo: list[tuple[float, Path]]) -> Iterator[Result]:
        if self.jobs == 1 or len(todo) < 2:
            for number, (quality, picture) in enumerate(todo):
                if number == 0:
                    _try_warm_up(codec, picture)
                yield _measure(codec, quality, picture, self.metrics)
            return
        # A fresh interpreter for each process: a fork would share torch's threads and the parent's memory peak.
        with ProcessPoolExecutor(self.jobs, get_context("spawn"), _begin) as pool:
            futures: dict[Future[Result], tuple[float, Path]] = {}
            try:
                for quality, picture in todo:
                    futures[pool.submit(_measure_spec, spec, quality, picture, self.metrics)] = quality, picture
                for future in as_completed(futures):
                    try:
                        yield future.result()
                    except BrokenProcessPool:
                        yield Result(*futures[future], None, "the process that measured it died")
            finally:
                for future in futures:
                    future.cancel()


def _named(pictures: list[Path], stem: str) -> Path:
    return next(path for path in pictures if path.stem == stem)


def _measure(codec: FileCodec, quality: float, picture: Path, metrics: tuple[str, ...]) -> Result:
    try:
        return Result(quality, picture, measure(codec, picture, quality, metrics=metrics))
    except Exception as error:  # of one measurement, whoever raised it
        return Result(quality, picture, None, " ".join(str(error).split()) or type(error).__name__)


def _try_warm_up(codec: FileCodec, picture: Path) -> None:
    try:
        warm_up(codec, picture)
    except Exception:
        return  # the measurement itself says why


# -- in a process of the pool ------------------------------------------------------------------------


def _begin() -> None:
    # A process of the pool waits for work for ever, and does not see its parent killed.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Before torch or a BLAS is loaded: each process has a core, not all of them.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@lru_cache(maxsize=2)
def _opened(spec: CodecSpec) -> FileCodec:
    return spec.open()


def _measure_spec(spec: CodecSpec, quality: float, picture: Path, metrics: tuple[str, ...]) -> Result:
    fresh = _opened.cache_info().misses
    codec = _opened(spec)
    if _opened.cache_info().misses != fresh:
        _try_warm_up(codec, picture)
    return _measure(codec, quality, picture, metrics)
