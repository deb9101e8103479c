"""Files of torch's own format (.pth, .pt), which are pickles: read without running anything in them, and bounded."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..contracts import AecodecError

#: How often tensors of a file may hold the same bytes: weights are tied, and named twice.
_SHARED = 8
#: Bytes of the largest file that is read.
MAX_BYTES = 32 << 30
#: Containers in one another, and values in all of them.
_MAX_DEPTH, _MAX_VALUES = 16, 1 << 20


def read_pickled(path: Path, error: type[AecodecError], says: str = "not a file of weights") -> Any:
    """Containers, plain values and tensors on the CPU. Raises ``error`` for a file that is missing, damaged or too
    large, holds anything else, or whose tensors claim more than the file has in it. says: what it then begins with."""
    try:
        size = _checked_size(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        held = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(content))
        if held > size * _SHARED:
            raise ValueError(f"its tensors claim {held} bytes, it has {size}")
    except FileNotFoundError:
        raise error(f"{path}: {says} (no such file)") from None
    except Exception as fault:  # whatever torch and pickle raise of their own
        lines = str(getattr(fault, "strerror", None) or fault).strip().splitlines()
        raise error(f"{path}: {says} ({lines[0] if lines else type(fault).__name__})") from fault
    return content


def _checked_size(path: Path) -> int:
    """Bytes of a file. Raises ValueError for one that is none, too large, or an archive that would grow when read."""
    if not path.exists():
        raise FileNotFoundError(path)
    if not path.is_file():
        raise ValueError("not a regular file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes; at most {MAX_BYTES} are read")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("its records are compressed")
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise ValueError("its records claim more than it has in it")
    return size


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    """Every tensor of nested containers. Raises ValueError for too many values, or too deep."""
    level, seen = [content], 0
    for _ in range(_MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, torch.Tensor):
                yield value
            elif isinstance(value, dict):
                inner.extend(value.values())
            elif isinstance(value, (list, tuple, set, frozenset)):
                inner.extend(value)
            if len(inner) + seen > _MAX_VALUES:
                raise ValueError(f"more than {_MAX_VALUES} values")
        if not inner:
            return
        level, seen = inner, seen + len(inner)
    raise ValueError(f"nested more than {_MAX_DEPTH} levels deep")
