"""A picture that was dropped on the page, hashed here and searched in an index."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..coding.container import MAGIC, SUFFIX
from ..contracts import AecodecError
from ..index.hash_index import HashIndex
from ..parallel import Lock
from ..search.pictures import CodeReader, Decode
from ..search.queries import Hit, answer
from .collection import Collection, address_of, text_of

#: Bytes of the largest picture that is taken.
LARGEST = 64 << 20
#: Hits of one search.
MOST = 60


class Search:
    """An index that pictures are searched in, one at a time; it is opened again after its file has changed."""

    def __init__(
        self,
        path: Path,
        collection: Collection,
        open_index: Callable[[Path], HashIndex],
        open_reader: Callable[[HashIndex], CodeReader],
        decode: Decode,
    ) -> None:
        """path: of the index; collection: whose pictures are shown; open_reader: files to codes, for an index; decode:
        of .aec files. Raises what open_index raises."""
        self._path, self._collection, self._decode = path, collection, decode
        self._open_index, self._open_reader = open_index, open_reader
        self._lock = Lock()
        self._reader: CodeReader | None = None
        self._load()

    def _load(self) -> None:
        self._stamp = _stamp(self._path)
        self._index, self._reader = self._open_index(self._path), None

    @property
    def root(self) -> str:
        """The folder that was indexed, or nothing."""
        return self._index.root

    def __call__(self, data: bytes, *, turned: bool = False) -> dict[str, Any]:
        """The bytes of a picture, whoever sent them -> its hits by distance, as JSON has them.

        turned: find mirrored and turned ones as well. Raises ImageReadError, BitstreamError and its kin for what is no
        picture, IndexFileError and what opening a hasher raises.
        """
        with self._lock, tempfile.TemporaryDirectory(prefix="aecodec-") as folder:
            if _stamp(self._path) != self._stamp:
                self._load()
            self._reader = reader = self._reader or self._open_reader(self._index)
            path = Path(folder, f"picture{SUFFIX}" if data.startswith(MAGIC) else "picture")
            path.write_bytes(data)
            found = next(iter(answer(self._index, reader, [path], k=MOST, turned=turned, decode=self._decode)))
        if found.error is not None:
            told = type(found.error)(str(found.error).removeprefix(f"{path}: "))
            raise told from found.error.__cause__
        return {"bits": self._index.n_bits, "hits": [self._record(hit) for hit in found.hits]}

    def _record(self, hit: Hit) -> dict[str, Any]:
        """A hit. address: null where it is no picture of the collection."""
        name = self._collection.name_of(hit.path)
        if name is not None:
            try:
                self._collection.open(name).close()
            except AecodecError:
                name = None
        return {
            "name": text_of(name or hit.id),
            "address": None if name is None else address_of(name),
            "distance": hit.distance,
            "marks": hit.marks,
        }


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
