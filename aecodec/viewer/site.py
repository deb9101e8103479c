"""A folder as a static site: pages, decoder, models and the pictures themselves, for any web server to serve.

A record in the site's folder tells which files are the site's own, by their SHA-256: those a later run replaces, and
nothing else. It names what a run is about to write before that is written, so that a run that was killed can be run
again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..coding.container import SUFFIX, read_semantic_hash
from ..contracts import AecodecError, OutputError, OutputExistsError, UnavailableError, UsageError, error_of
from ..data.files import atomic_file, make_folder, open_input, write_atomic
from ..data.locks import locked
from ..data.moves import digest, new_temporary
from ..data.outputs import FORCE, check_output
from ..data.records import hexadecimal, listing, mapping, read_object, text
from .collection import Entry, Folder
from .models import Models, file_name
from .pages import MANIFEST, MODELS, manifest

#: Of this folder's own files, hidden.
RECORD = ".aecodec-site.json"
_WHAT, _VERSION = "aecodec site", 1
_MOST_PARTS, _MOST_DIGESTS = 1_000_000, 100
_CHUNK = 1 << 20
#: Path below the site's folder, with slashes -> the SHA-256 of what it holds, or may hold.
Parts = dict[str, list[str]]


@dataclass(frozen=True)
class Content:
    """What a file of the site is to hold: a file of elsewhere, or bytes."""

    source: Path | bytes
    sha256: str
    link: bool = False

    @classmethod
    def of(cls, source: Path | bytes, *, link: bool = False) -> Content:
        """Raises OSError."""
        found = digest(source) if isinstance(source, Path) else hashlib.sha256(source).hexdigest()
        return cls(source, found, link)


@dataclass(frozen=True)
class Report:
    """What a run did. failures: pictures that are not in the site; left: files of former runs that are no part of it
    any more, and stay."""

    pictures: int
    models: int
    written: int
    unchanged: int
    size: int
    left: list[str]
    notes: list[str]
    failures: list[tuple[Path, AecodecError]] = field(default_factory=list)


def write_site(
    out: Path,
    folder: Folder,
    assets: Mapping[str, Path],
    models: Models,
    *,
    title: str | None = None,
    overwrite: bool = False,
    link: bool = False,
    wait: float = 0,
) -> Report:
    """Make or update a site.

    overwrite: also what is not the site's own, or was changed since. link: hard links to the pictures where the file
    system has them, instead of copies. wait: seconds for another run that writes the same site. A picture whose header
    is damaged, or whose model is not here, is left out and told. Before anything is written, raises UsageError for
    folders in one another or one without pictures, OutputExistsError for a file that is not to be replaced,
    OutputError for what cannot be.
    """
    _check_apart(out, folder.path)
    found = folder.listing()
    pictures, parts, failures = _pictures(found.entries, models)
    if not pictures:
        remark = f" ({'; '.join(found.notes)})" if found.notes else ""
        raise failures[0][1] if failures else UsageError(f"{folder.path}: no pictures to show in it{remark}")
    contents = {address: Content.of(path) for address, path in assets.items()}
    contents |= {f"{MODELS}{name}": Content.of(part) for name, part in parts.items()}
    contents |= {f"files/{entry.name}": Content.of(entry.path, link=link) for entry in pictures}
    shown = manifest(title or folder.title, pictures, [])
    contents[MANIFEST] = Content.of(json.dumps(shown, indent=1).encode())
    make_folder(out)
    with locked(out / RECORD, wait=wait):
        known = _read_record(out)
        waiting = _to_write(out, contents, known, overwrite)
        _write_record(out, {**known, **{name: [*known.get(name, ()), contents[name].sha256] for name in contents}})
        for name in waiting:
            _put(out / name, contents[name])
        left = [name for name in known if name not in contents and os.path.lexists(out / name)]
        stay = {name: known[name] for name in left}
        _write_record(out, {**stay, **{name: [content.sha256] for name, content in contents.items()}})
    size = sum(os.path.getsize(out / name) for name in contents)
    return Report(
        len(pictures), len(parts), len(waiting), len(contents) - len(waiting), size, left, found.notes, failures
    )


def _check_apart(out: Path, folder: Path) -> None:
    """Raises UsageError where one folder lies in the other: a site would hold itself."""
    places = [os.path.join(os.path.realpath(path), "") for path in (out, folder)]
    if places[0].startswith(places[1]) or places[1].startswith(places[0]):
        raise UsageError(f"{out} and {folder} lie in one another; a site needs a folder of its own")


def _pictures(
    entries: Iterable[Entry], models: Models
) -> tuple[list[Entry], dict[str, bytes], list[tuple[Path, AecodecError]]]:
    """The pictures that can be shown, what decodes them by the name of its file, and why the others cannot."""
    pictures, parts, failures = [], dict[str, bytes](), []
    for entry in entries:
        try:
            if entry.path.suffix.lower() == SUFFIX:
                with open_input(entry.path) as file:
                    header, _ = read_semantic_hash(file)
                parts[file_name(header.fingerprint)] = models.of(header.fingerprint, header.model)
            pictures.append(entry)
        except Exception as fault:
            failures.append((entry.path, error_of(str(entry.path), fault)))
    return pictures, parts, failures


def _to_write(out: Path, contents: Mapping[str, Content], known: Parts, overwrite: bool) -> list[str]:
    """The files that are missing or hold something else, in the order of writing. Raises OutputExistsError for one that
    is not to be replaced, OutputError for what cannot be."""
    top = os.path.join(os.path.realpath(out), "")
    waiting = []
    for name, content in contents.items():
        target = out / name
        if not os.path.join(os.path.realpath(target.parent), "").startswith(top):
            raise OutputError(f"{target.parent}: is a link out of {out}")
        there = check_output(target, overwrite=True)
        if os.path.islink(target):
            raise OutputError(f"{target}: is a link, and a site holds none")
        if there is None:
            waiting.append(name)
            continue
        with _told(target):
            found = digest(target)
        if found == content.sha256:
            continue
        if not overwrite and found not in known.get(name, ()):
            raise OutputExistsError(f"{target}: exists and is not as a former run left it ({FORCE})")
        waiting.append(name)
    return waiting


def _put(target: Path, content: Content) -> None:
    """Write one file whole, or leave the one that is there. Raises OutputError and its kin, UnavailableError."""
    make_folder(target.parent)
    if isinstance(content.source, bytes):
        write_atomic(target, content.source, overwrite=True)
    elif not (content.link and _linked(content.source, target)):
        found = hashlib.sha256()
        with open_input(content.source) as read, atomic_file(target, overwrite=True, sources=[content.source]) as write:
            while chunk := read.read(_CHUNK):
                found.update(chunk)
                write.write(chunk)
            if found.hexdigest() != content.sha256:
                raise UnavailableError(f"{content.source}: changed while it was copied")


def _linked(source: Path, target: Path) -> bool:
    """Make a hard link take a file's place, if the file systems can."""
    temporary = target.with_name(new_temporary())
    try:
        os.link(os.path.realpath(source), temporary)
    except OSError:
        return False
    try:
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return True


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Errors of the system as one that names the file."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_record(out: Path) -> Parts:
    """What former runs wrote; nothing where there was none. Raises OutputError for what is no such record."""
    path = out / RECORD
    if not os.path.lexists(path):
        return {}
    kinds = {"what": text(), "parts": mapping(listing(hexadecimal(32), _MOST_DIGESTS), _MOST_PARTS)}
    read = read_object(path, OutputError, kinds, says="is no record of a site, so nothing in its folder is replaced")
    if read["what"] != _WHAT:
        raise OutputError(f"{path}: is no record of a site, so nothing in its folder is replaced")
    return {name: list(found) for name, found in read["parts"].items()}


def _write_record(out: Path, parts: Parts) -> None:
    record = {"what": _WHAT, "version": _VERSION, "parts": parts}
    write_atomic(out / RECORD, json.dumps(record, indent=1).encode(), overwrite=True)
