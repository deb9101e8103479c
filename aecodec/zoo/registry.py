"""Which models exist on this machine, listed and found by name, path or fingerprint without loading any weights."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

from ..contracts import CheckpointError, ModelMismatchError, UnknownName

FORMAT = "aecodec-checkpoint-1"
SUFFIX = ".safetensors"
DEFAULT_MODEL = "photo"
DEFAULT_HASHER = "photo-hash"
#: What a task uses unless told otherwise.
DEFAULT_RESTORER = "restorer"
DEFAULT_SPEECH = "speech-denoiser"
DEFAULT_GENERATOR = "vae-faces"
EMBEDDED = Path(__file__).parent
_HEADER_LIMIT = 16 << 20


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
        with open(path, "rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            if length > _HEADER_LIMIT:
                raise CheckpointError(f"{path}: not a checkpoint (header of {length} bytes)")
            header = json.loads(file.read(length)).get("__metadata__") or {}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except (OSError, ValueError, struct.error, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a checkpoint ({error})") from error
    if header.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected a checkpoint of format {FORMAT}, found {header.get('format')!r}")
    try:
        for key in ("config", "escapes", "card"):
            header[key] = json.loads(header[key])
        header["fingerprint"] = bytes.fromhex(header["fingerprint"])
        header["name"], header["family"]
    except (KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: its header lacks or garbles {error}") from error
    return header


def model_paths() -> list[Path]:
    """Every checkpoint of the embedded zoo and of the cache, the embedded ones first."""
    folders = (EMBEDDED, cache_folder() / "models")
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.glob(f"*{SUFFIX}"))]


def list_models() -> list[dict[str, Any]]:
    """Name, family, fingerprint, size and card of every model of the zoo and the cache."""
    found = []
    for path in model_paths():
        header = read_header(path)
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

    Raises ModelMismatchError, naming what was looked for and what is here.
    """
    candidates = ([extra] if extra is not None else []) + model_paths()
    seen = []
    for path in candidates:
        found = read_header(path)
        if found["fingerprint"] == fingerprint:
            return path
        seen.append(f"{found['name']} {found['fingerprint'].hex()}")
    raise ModelMismatchError(
        f"the file needs model {name} with fingerprint {fingerprint.hex()}; there are: {'; '.join(seen) or 'none'}"
    )
