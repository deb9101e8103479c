"""Datasets of Ray for those who write pipelines: paths in, `.aec` files or codes out, a row for each picture."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..codec.codec import Codec
from ..codec.files import Codecs, upright_decoder
from ..codec.files import compress as compress_file
from ..codec.info import info
from ..codec.options import EncodeOptions
from ..coding.container import SUFFIX
from ..contracts import AecodecError, UsageError, error_of
from ..data.files import make_folder
from ..data.folders import Walk
from ..data.formats import picture_suffixes
from ..data.outputs import check_distinct, check_output, output_below
from ..engine.opening import limit_threads
from ..hasher import Hasher
from ..search.pictures import CodeReader, picture_walk
from ..search.updating import GROUP
from ..zoo.registry import DEFAULT_HASHER, DEFAULT_MODEL
from .agreement import Agreement, witness
from .cluster import device_asked, require, workers_for
from .running import TableActor, mapped

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset

#: Pictures that an actor compresses at a time.
_FEW = 4
#: A row's columns.
_HASHED = ("code", "width", "height", "error")
_COMPRESSED = ("output", "input_bytes", "bytes", "width", "height", "skipped", "error")


def hash(
    source: Dataset | str | Path,
    *,
    hasher: str | None = None,
    bits: int | None = None,
    device: str = "auto",
    num_workers: int | None = None,
    threads: int = 1,
) -> Dataset:
    """Codes of pictures and `.aec` files, lazily as Ray Data has it.

    source: a folder, or a dataset with a column ``path``, whose other columns stay. hasher: a name, or a path that is
    the same for all workers. bits: of the codes, all that it has unless given. num_workers: actors, each with a hasher,
    with so many CPUs (threads) and a GPU if the device is one; as many as there is room for unless given.

    Adds code (binary, bits / 8 bytes), width and height (pixels; of an .aec file that carries its code, as stored),
    and error (null, or one line that begins with the path): a picture that cannot be read is a row as well. Raises
    UsageError, UnknownName, CheckpointError, MissingDependencyError, ClusterError; that a worker lacks the folder or
    the model ends the execution.
    """
    require()
    device, name = device_asked(device), hasher or DEFAULT_HASHER
    Hasher.from_pretrained(name, device="cpu", bits=bits)  # what cannot be is told here
    paths: list[Path] = []
    if isinstance(source, str | Path):
        paths = _listed(Path(source), picture_walk())
    opening = partial(_open_hashing, name, bits, device, threads)
    workers, agreement = workers_for(num_workers, device, threads), Agreement.of(paths[:1], [name])
    dataset = _of_paths(paths, GROUP) if isinstance(source, str | Path) else source
    return mapped(dataset, TableActor, opening, agreement, workers, GROUP)


def _open_hashing(name: str, bits: int | None, device: str, threads: int) -> Callable[[pa.Table], pa.Table]:
    """In a worker."""
    limit_threads(threads)
    reader = CodeReader(Hasher.from_pretrained(name, device=device), bits, upright_decoder(Codecs(device=device)))

    def rows(table: pa.Table) -> pa.Table:
        paths = _paths(table)
        found = reader.describe([Path(path) for path in paths])
        return _with(
            table,
            _HASHED,
            [
                (None, None, None, str(error_of(path, one)))
                if isinstance(one, AecodecError)
                else (one.codes, one.width, one.height, None)
                for path, one in zip(paths, found, strict=True)
            ],
        )

    return rows


def compress(
    source: Dataset | str | Path,
    out: str | Path,
    options: EncodeOptions | None = None,
    *,
    root: str | Path | None = None,
    model: str | None = None,
    hasher: str | None = None,
    with_hash: bool = True,
    overwrite: bool = False,
    append_ext: bool = False,
    device: str = "auto",
    num_workers: int | None = None,
    threads: int = 1,
    **changes: Any,
) -> Dataset:
    """Pictures to `.aec` files in a folder that all workers share; returns when all is done.

    source: a folder, or a dataset with a column ``path``, whose other columns stay; its pictures lie below ``root``,
    and their outputs keep their whole names (photo.png.aec), which ``append_ext`` asks for of a folder's. An output
    that is there and whole is skipped, unless ``overwrite``: a run that ended early is done by doing it again. options,
    changes, model, hasher, with_hash: as of `aecodec.compress`; the bytes are the same. device, num_workers, threads:
    as of `hash`.

    Adds output, input_bytes, bytes, width, height, skipped and error, as `hash` does. Raises what that does, UsageError
    for outputs that would be one file, OutputError for a folder that cannot be written to.
    """
    require()
    asked, device, out = EncodeOptions.of(options, changes), device_asked(device), Path(os.path.abspath(out))
    models = [model or DEFAULT_MODEL, *([hasher or DEFAULT_HASHER] if with_hash else [])]
    paths: list[Path] = []
    if isinstance(source, str | Path):
        root, paths = source, _listed(Path(source), Walk(picture_suffixes(), once=False))
        places = [(output_below(out, path, Path(source), SUFFIX, append_ext), str(path)) for path in paths]
        check_distinct(places, "; use append_ext=True")
        dataset = _of_paths(paths, _FEW)
    elif root is None:
        raise UsageError("a dataset of paths needs the root that they lie below")
    else:
        dataset, append_ext = source, True
    work = _Compression(asked, models, str(out), os.path.abspath(root), append_ext, overwrite, device, threads)
    workers = workers_for(num_workers, device, threads)
    with witness(out) as seen:
        return mapped(
            dataset, TableActor, work.open, Agreement.of([*paths[:1], seen], models), workers, _FEW
        ).materialize()


@dataclass(frozen=True)
class _Compression:
    """How pictures are compressed. models: of the codec and, if there are to be hashes, of the hasher."""

    options: EncodeOptions
    models: list[str]
    out: str
    root: str
    append: bool
    overwrite: bool
    device: str
    threads: int

    def open(self) -> Callable[[pa.Table], pa.Table]:
        """In a worker."""
        limit_threads(self.threads)
        codec = Codec.from_pretrained(self.models[0], device=self.device)
        hasher = Hasher.from_pretrained(self.models[1], device=self.device) if self.models[1:] else None
        return lambda table: _with(table, _COMPRESSED, [self._row(path, codec, hasher) for path in _paths(table)])

    def _row(self, path: str, codec: Codec, hasher: Hasher | None) -> tuple[Any, ...]:
        """See `_COMPRESSED`."""
        output = None
        try:
            source = Path(os.path.abspath(path))
            if not source.is_relative_to(self.root):
                raise UsageError(f"lies outside {self.root}")
            output = output_below(Path(self.out), source, Path(self.root), SUFFIX, self.append)
            skipped = check_output(output, overwrite=True) is not None and not self.overwrite
            if not skipped:
                make_folder(output.parent)
                compress_file(
                    source,
                    output,
                    self.options,
                    codec=codec,
                    hasher=hasher,
                    with_hash=hasher is not None,
                    overwrite=self.overwrite,
                )
            made = info(output)
            return (str(output), os.stat(source).st_size, made["bytes"], made["width"], made["height"], skipped, None)
        except Exception as fault:
            return None, None, None, None, None, False, str(error_of(path, fault, str(output)))


def _listed(folder: Path, walk: Walk) -> list[Path]:
    """The files that a walk finds; a warning tells of what it could not look at. Raises UsageError if there is none."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    paths = [one.path for one in walk.files(folder)]
    if not paths:
        raise UsageError(f"{folder}: no pictures found in it{f' ({walk.summary})' if walk.summary else ''}")
    if walk.unreadable:
        warnings.warn(f"{folder}: {walk.summary}", stacklevel=3)
    return paths


def _of_paths(paths: Iterable[Path], rows: int) -> Dataset:
    """A dataset of paths in blocks of so many rows."""
    import pyarrow as pa
    import ray.data

    names = [str(path) for path in paths]
    starts = range(0, len(names), rows)
    return ray.data.from_arrow([pa.table({"path": pa.array(names[n : n + rows], pa.string())}) for n in starts])


def _paths(table: pa.Table) -> list[str]:
    if "path" not in table.column_names:
        raise UsageError(f"a dataset of pictures has a column path; found {', '.join(table.column_names) or 'none'}")
    return [str(path) for path in table["path"].to_pylist()]


def _with(table: pa.Table, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> pa.Table:
    """A table with further columns, or with other ones of these names."""
    import pyarrow as pa

    kinds = {"code": pa.binary(), "skipped": pa.bool_(), "output": pa.string(), "error": pa.string()}
    for number, column in enumerate(columns):
        values = pa.array([row[number] for row in rows], kinds.get(column, pa.int64()))
        if column in table.column_names:
            table = table.drop_columns([column])
        table = table.append_column(column, values)
    return table
