"""Which models exist on this machine, listed and found by name, path or fingerprint without loading any weights."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from ..coding.header import FINGERPRINT, is_model_name
from ..contracts import CheckpointError, ModelMismatchError, OutOfMemoryError, UnknownName
from ..data import records

FORMAT = "aecodec-checkpoint-1"
SUFFIX = ".safetensors"
#: What the embedded codecs are tuned for: squared error, or what eyes see.
TUNES = {"psnr": "photo", "visual": "photo-visual"}
DEFAULT_MODEL = TUNES["visual"]
#: The family whose files hold their own networks, named like a model; a model of this name is not found by it.
OVERFITTED = "overfitted"
DEFAULT_HASHER = "photo-hash"
#: What a task uses unless told otherwise.
DEFAULT_RESTORER = "restorer"
DEFAULT_SPEECH = "speech-denoiser"
DEFAULT_GENERATOR = "vae-faces"
EMBEDDED = Path(__file__).parent
#: Bytes of the largest checkpoint that is read, and of its header.
MAX_BYTES = 2 << 30
_HEADER_LIMIT = 16 << 20
#: The largest counts that a configuration may hold: of layers one after another, and of anything else.
MAX_LAYERS, MAX_WIDTH = 256, 1 << 16
_MAX_WORD = 1000
_FLOAT = records.Kind(
    "a number from 0 to 1e+12",
    lambda value: isinstance(value, float) and records.is_number(value) and 0 <= value <= 1e12,
)
_FIELDS = {
    "name": records.Kind("a model's name", lambda value: isinstance(value, str) and is_model_name(value)),
    "family": records.text(100),
    "fingerprint": records.hexadecimal(FINGERPRINT),
    "escapes": records.mapping(records.flag(), most=100),
}
_PERHAPS = {"graphs": records.hexadecimal(32), "base": records.hexadecimal(FINGERPRINT)}


def cache_folder() -> Path:
    """Where imported models live: AECODEC_CACHE, else ~/.cache/aecodec (or XDG_CACHE_HOME's)."""
    given = os.environ.get("AECODEC_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aecodec"


def read_header(path: Path) -> dict[str, Any]:
    """A checkpoint's metadata: name, family, config, escapes, card, and fingerprint as 8 bytes.

    Reads the safetensors header only. Raises CheckpointError if the file is missing or no checkpoint of ours.
    """
    # The format's own description (a length of 8 bytes, then JSON): safetensors.safe_open imports NumPy before it
    # opens anything, and `aecodec models list` would take twice as long.
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"{status.st_size} bytes; at most {MAX_BYTES} are read")
        with open(path, "rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            if length > min(_HEADER_LIMIT, status.st_size):
                raise ValueError(f"header of {length} bytes")
            header = records.parse_object(file.read(length)).get("__metadata__") or {}
            if not isinstance(header, dict):
                raise ValueError(f"metadata is an object, found {records.shown(header)}")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except (OSError, ValueError, struct.error) as error:
        raise OutOfMemoryError.below(error) or CheckpointError(f"{path}: not a checkpoint ({error})") from error
    if header.get("format") != FORMAT:
        found = records.shown(header.get("format"))
        raise CheckpointError(f"{path}: expected a checkpoint of format {FORMAT}, found {found}")
    try:
        for key in ("config", "escapes", "card"):
            if not isinstance(header.get(key), str):
                raise ValueError(f"{key} is missing")
            header[key] = records.parse_object(header[key])
    except ValueError as error:
        raise CheckpointError(f"{path}: its header is garbled ({error})") from error
    if wrong := records.misfit(header, _FIELDS, _PERHAPS) or configuration_fault(header["config"]):
        raise CheckpointError(f"{path}: its header is garbled ({wrong})")
    header["fingerprint"] = bytes.fromhex(header["fingerprint"])
    return header


def configuration_fault(config: Mapping[str, Any]) -> str | None:
    """What is wrong with a family's configuration, whatever the family, in words, or None.

    Values are numbers, words, true or false, and flat lists of them. A whole number counts layers where its name ends
    in "blocks" or "levels", and is at most MAX_LAYERS; otherwise it is a width or a length, at most MAX_WIDTH.
    """
    return records.misfit(config, {key: _setting(key) for key in config})


def _setting(key: str) -> records.Kind:
    layers = key.endswith(("blocks", "levels"))
    one = records.either(
        records.integer(0, MAX_LAYERS if layers else MAX_WIDTH), _FLOAT, records.flag(), records.text(_MAX_WORD)
    )
    return records.either(one, records.listing(one, MAX_LAYERS))


def model_paths() -> list[Path]:
    """Every checkpoint of the embedded zoo and of the cache, the embedded ones first."""
    folders = (EMBEDDED, cache_folder() / "models")
    return [
        path for folder in folders if folder.is_dir() for path in sorted(folder.glob(f"*{SUFFIX}")) if path.is_file()
    ]


def _headers(unreadable: Callable[[CheckpointError], None]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every model of the zoo and the cache with its header; what else lies there is told, and hides no other."""
    for path in model_paths():
        try:
            header = read_header(path)
        except CheckpointError as error:
            unreadable(error)
        else:
            yield path, header


def list_models(unreadable: Callable[[CheckpointError], None] = lambda error: None) -> list[dict[str, Any]]:
    """Name, family, fingerprint, size and card of every model of the zoo and the cache.

    unreadable: told of each file there that is no sound checkpoint.
    """
    found = []
    for path, header in _headers(unreadable):
        found.append(
            {
                "name": path.stem,
                "family": header["family"],
                "fingerprint": header["fingerprint"].hex(),
                "bytes": path.stat().st_size,
                "path": str(path),
                "config": header["config"],
                "card": header["card"],
            }
        )
    return found


def find_model(name_or_path: str | Path | None = None) -> Path:
    """A name of the zoo or cache, or a file -> its path. None is the default model. Raises UnknownName."""
    wanted = str(name_or_path or DEFAULT_MODEL)
    if wanted.endswith(SUFFIX) or os.sep in wanted:
        path = Path(wanted)
        if not path.is_file():
            raise CheckpointError(f"{path}: no such checkpoint")
        return path
    for path in model_paths():
        if path.stem == wanted:
            return path
    known = ", ".join(path.stem for path in model_paths()) or "none"
    raise UnknownName(f"no model {wanted!r}; there are: {known}")


def find_fingerprint(fingerprint: bytes, name: str, extra: Path | None = None) -> Path:
    """The checkpoint that a file was written with. extra: a model given by the user, looked at first.

    Raises ModelMismatchError, naming what was looked for and what is here, unsound files among it.
    """
    seen: list[str] = []
    given = [(extra, read_header(extra))] if extra is not None else []
    for path, found in chain(given, _headers(lambda error: seen.append(str(error)))):
        if found["fingerprint"] == fingerprint:
            return path
        seen.append(f"{found['name']} {found['fingerprint'].hex()}")
    raise ModelMismatchError(
        f"the file needs model {name} with fingerprint {fingerprint.hex()}; there are: {'; '.join(seen) or 'none'}"
    )
