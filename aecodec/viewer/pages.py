"""What is served at which address: the pages, the decoder, models, pictures, the list of them, and searches.

The addresses are those of a static site, all of them relative, so that the pages are the same.

    NAME              a page, and what pages load: see assets.py
    manifest.json     the pictures: see `manifest`
    models/PRINT.safetensors    what decodes of the model with a fingerprint, see models.py
    files/PATH        a picture
    search            POST a picture -> its hits; not of a static site
"""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ..contracts import AecodecError, BitstreamError, ImageReadError, ModelMismatchError, UnavailableError
from ..data.files import open_input
from .assets import INDEX, TYPES
from .collection import BYTES, FILES, Collection, Entry, OneFile, address_of, name_at, text_of, type_of
from .models import Models, fingerprint_in
from .searching import LARGEST, Search

MANIFEST, MODELS, SEARCH = "manifest.json", "models/", "search"
WHAT, VERSION = "aecodec pictures", 1
TEXT, JSON = "text/plain; charset=utf-8", "application/json"


@dataclass(frozen=True)
class Answer:
    """What is answered. body: bytes, or an open file of which ``size`` bytes are sent."""

    status: int
    type: str
    body: bytes | BinaryIO
    size: int
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, body: bytes, kind: str, status: int = 200) -> Answer:
        """Bytes of a type."""
        return cls(status, kind, body, len(body))

    @classmethod
    def words(cls, status: int, text: str, **headers: str) -> Answer:
        """A refusal, as plain text."""
        body = f"{text}\n".encode("utf-8", "replace")
        return cls(status, TEXT, body, len(body), {name.replace("_", "-"): value for name, value in headers.items()})

    @classmethod
    def record(cls, record: dict[str, Any], status: int = 200) -> Answer:
        """JSON."""
        return cls.of(json.dumps(record).encode(), JSON, status)


def manifest(title: str, entries: list[Entry], notes: list[str], *, search: bool = False) -> dict[str, Any]:
    """What the page of a folder reads. address: of a picture, relative to that of the list; limit: bytes of the
    largest picture that a search takes."""
    return {
        "what": WHAT,
        "version": VERSION,
        "title": text_of(title),
        "notes": notes,
        "search": {"address": SEARCH, "limit": LARGEST} if search else None,
        "files": [
            {"name": text_of(entry.name), "address": address_of(entry.name), "bytes": entry.size} for entry in entries
        ],
    }


def start_of(collection: Collection) -> str:
    """The address of what is shown first: the page, and on it the file if there is but one."""
    if not isinstance(collection, OneFile):
        return ""
    return f"{INDEX}?file={urllib.parse.quote(address_of(collection.title), safe='')}"


class Pages:
    """Everything that is served, by its address below the token."""

    def __init__(
        self, collection: Collection, assets: Mapping[str, Path], models: Models, search: Search | None = None
    ) -> None:
        """assets: the built pages and what they load, by address."""
        self._collection, self._assets, self._models, self._search = collection, assets, models, search

    def get(self, address: str) -> Answer:
        """address: as it was asked for, percent-encoded, without what is behind a question mark."""
        try:
            return self._get(address)
        except (UnavailableError, ModelMismatchError) as error:
            return Answer.words(404, str(error))
        except AecodecError as error:
            return Answer.words(500, str(error))

    def _get(self, address: str) -> Answer:
        if address.startswith(FILES):
            name = name_at(address)
            return _opened(self._collection.open(name), type_of(name))
        if address.startswith(MODELS):
            return Answer.of(self._models.of(fingerprint_in(address[len(MODELS) :])), BYTES)
        if address == MANIFEST:
            found = self._collection.listing()
            title, search = self._collection.title, self._search is not None
            return Answer.record(manifest(title, found.entries, found.notes, search=search))
        path = self._assets.get(address or INDEX)
        if path is None:
            raise UnavailableError("nothing is served at this address")
        return _opened(open_input(path), TYPES[path.suffix])

    def search(self, data: bytes, *, turned: bool) -> Answer:
        """A picture, whoever sent it -> its hits, or what is wrong with it, as JSON."""
        if self._search is None:
            return Answer.record({"error": "there is no index to search in"}, 404)
        try:
            return Answer.record(self._search(data, turned=turned))
        except (ImageReadError, BitstreamError) as error:
            return Answer.record({"error": str(error)}, 422)
        except AecodecError as error:
            return Answer.record({"error": str(error)}, 500)


def _opened(file: BinaryIO, kind: str) -> Answer:
    """An open file, as long as it is now."""
    return Answer(200, kind, file, os.fstat(file.fileno()).st_size)
