"""aecodec: a learned image codec and picture-search toolkit. Names load lazily; importing this imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "AecodecError": "contracts",
    "BitstreamError": "contracts",
    "CheckpointError": "contracts",
    "ImageReadError": "contracts",
    "IndexFileError": "contracts",
    "ModelMismatchError": "contracts",
    "OutputExistsError": "contracts",
    "TargetUnreachableError": "contracts",
    "Codec": "codec.codec",
    "HashIndex": "index.hash_index",
    "Hasher": "hasher",
    "compress": "codec.files",
    "decompress": "codec.files",
    "verify": "codec.files",
    "info": "codec.info",
    "list_models": "zoo.registry",
}
__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
