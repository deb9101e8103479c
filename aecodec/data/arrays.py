"""Small pictures and other items of fixed shape, held whole as one array, and random batches of them."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..contracts import ImageReadError

#: Keys of an .npz that are looked for, in this order, where the path names none.
KEYS = ("x_train", "images", "items")
#: Held-out items are evaluated together, this many at most.
EVALUATED = 1024


class ArraySet:
    """Items of one shape: (N, C, H, W) uint8, drawn as float32 in [0, 1], or (N, ...) float32, drawn as they are."""

    def __init__(self, items: torch.Tensor, held: torch.Tensor | None = None) -> None:
        self.items, self._held = items, held
        self.shape = tuple(items.shape[1:])

    def __len__(self) -> int:
        return len(self.items)

    def draw(self, count: int, rng: torch.Generator, progress: float = 0.0) -> torch.Tensor:
        """Random items, with replacement -> (count, *shape) float32."""
        which = torch.randint(len(self.items), (count,), generator=rng, device=self.items.device)
        return as_float(self.items[which])

    def held_out(self) -> list[torch.Tensor]:
        """One batch of the items kept aside, if there are any."""
        return [] if self._held is None else [as_float(self._held[:EVALUATED])]

    @classmethod
    def split(
        cls, items: np.ndarray, device: torch.device, hold_out: int, held: np.ndarray | None = None, name: str = ""
    ) -> ArraySet:
        """Keep ``hold_out`` items aside, drawn with a fixed seed, unless ``held`` takes their place.

        Raises ImageReadError, naming the source of the held items, if theirs is another shape.
        """
        if held is None:
            order = np.random.Generator(np.random.PCG64(0)).permutation(len(items))
            cut = min(hold_out, len(items) - 1)
            held, items = items[np.sort(order[:cut])], items[np.sort(order[cut:])]
        elif held.shape[1:] != items.shape[1:]:
            raise ImageReadError(f"{name}: items of shape {held.shape[1:]}, those to train on have {items.shape[1:]}")
        kept = torch.from_numpy(held).to(device) if len(held) else None
        return cls(torch.from_numpy(items).to(device), kept)

    @classmethod
    def load(
        cls, source: str | Path, device: torch.device, hold_out: int, evaluation: str | Path | None = None
    ) -> ArraySet:
        """``FILE.npz`` or ``FILE.npz:KEY``; the first of KEYS unless named. Raises ImageReadError.

        hold_out: so many items, drawn with a fixed seed, are kept aside; an evaluation source takes their place.
        """
        held = None if evaluation is None else read_array(evaluation)
        return cls.split(read_array(source), device, hold_out, held, str(evaluation))


def as_float(items: torch.Tensor) -> torch.Tensor:
    """uint8 -> float32 in [0, 1]; any floating type -> float32."""
    return items.float() / 255.0 if items.dtype == torch.uint8 else items.float()


def split_key(source: str | Path) -> tuple[Path, str | None]:
    """``FILE.npz:KEY`` -> (file, key); without a key, None."""
    path, mark, key = str(source).rpartition(".npz:")
    return (Path(f"{path}.npz"), key) if mark else (Path(source), None)


def array_names(path: str | Path) -> set[str]:
    """Names of the arrays in an .npz; none for a file that is missing or something else."""
    try:
        with zipfile.ZipFile(path) as file:
            return {name.removesuffix(".npy") for name in file.namelist()}
    except (OSError, zipfile.BadZipFile):
        return set()


@contextlib.contextmanager
def open_arrays(path: str | Path, what: str = ".npz") -> Iterator[Any]:
    """The arrays of an .npz by name. Raises ImageReadError, naming what it should be, for what cannot be read."""
    try:
        pack = np.load(path)
        if not isinstance(pack, np.lib.npyio.NpzFile):
            raise ImageReadError(f"{path}: not a readable {what} (one bare array)")
        with pack:
            yield pack
    except (OSError, LookupError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ImageReadError(f"{path}: not a readable {what} ({error})") from error


def holds_arrays(source: str | Path) -> bool:
    """Whether the source names an array of an .npz, or an .npz with one of KEYS in it."""
    path, key = split_key(source)
    return key is not None or not array_names(path).isdisjoint(KEYS)


def read_array(source: str | Path, only: int | None = None) -> np.ndarray:
    """Grey (N, H, W) and interleaved (N, H, W, 1 or 3) uint8 become (N, C, H, W) uint8; floats stay as they are.

    only: the class, by the labels beside the array, whose items are wanted. Raises ImageReadError if the file, the key,
    items of a usable type or the class are not there.
    """
    array = _read_array(source)
    if only is None:
        return array
    labels = read_labels(source)
    if only not in labels:
        raise ImageReadError(f"{source}: no item of class {only}; there are: {', '.join(map(str, np.unique(labels)))}")
    return array[labels == only]


def read_labels(source: str | Path) -> np.ndarray:
    """The classes of an array's items, (N,) int64: ``y_train`` beside ``x_train``. Raises ImageReadError."""
    path, key = split_key(source)
    with open_arrays(path) as pack:
        name = "y_" + (key or KEYS[0]).removeprefix("x_")
        if name not in pack.files:
            raise ImageReadError(f"{path}: no labels {name}; it holds {', '.join(pack.files)}")
        return np.asarray(pack[name], np.int64)


def _read_array(source: str | Path) -> np.ndarray:
    path, key = split_key(source)
    with open_arrays(path) as pack:
        key = key or next((known for known in KEYS if known in pack.files), None)
        if key not in pack.files:
            raise ImageReadError(f"{path}: holds {', '.join(pack.files)}; name one as {path.name}:KEY")
        array: np.ndarray = pack[key]
    if not len(array) or array.ndim < 2:
        raise ImageReadError(f"{path}: {key} of shape {array.shape} holds no items")
    if np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float32)
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise ImageReadError(
            f"{path}: {key} is {array.dtype} of shape {array.shape}; expected uint8 pictures or floats"
        )
    if array.ndim == 3:
        return array[:, None]
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if array.shape[3] in (1, 3) else array
