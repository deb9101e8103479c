"""Small pictures and other items of fixed shape, held whole as one array, and random batches of them."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ..contracts import ImageReadError
from .files import open_input

#: Keys of an .npz that are looked for, in this order, where the path names none.
KEYS = ("x_train", "images", "items")
#: An array of so many bytes is read however well it is packed; a larger one was packed so many times at most.
PLAIN, RATIO = 256 << 20, 100
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
        if not Path(path).is_file():
            return set()
        with zipfile.ZipFile(path) as file:
            return {name.removesuffix(".npy") for name in file.namelist()}
    except Exception:  # whatever a file that is no archive makes zipfile raise
        return set()


class Pack:
    """The arrays of an .npz, each checked before it takes memory. files: their names."""

    def __init__(self, path: str | Path, what: str, archive: zipfile.ZipFile) -> None:
        self._path, self._what, self._archive = path, what, archive
        self._size = Path(path).stat().st_size
        self.files = [name.removesuffix(".npy") for name in archive.namelist()]

    def __getitem__(self, name: str) -> np.ndarray:
        """An array by name. Raises ImageReadError for one that is missing or damaged, holds objects, numbers that are
        not finite, or more than PLAIN bytes that are packed more than RATIO times."""
        try:
            return self._read(name)
        except KeyError:
            there = ", ".join(self.files) or "nothing"
            raise ImageReadError(f"{self._path}: not a readable {self._what} (no {name}; it holds {there})") from None
        except Exception as error:  # whatever NumPy, zipfile and zlib raise of their own
            raise ImageReadError(f"{self._path}: not a readable {self._what} ({name}: {_said(error)})") from error

    def _read(self, name: str) -> np.ndarray:
        entry = self._archive.getinfo(f"{name}.npy")
        if entry.file_size > max(PLAIN, RATIO * min(entry.compress_size, self._size)):
            raise ValueError(f"{entry.compress_size} bytes that unpack to {entry.file_size}")
        with self._archive.open(entry) as file:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read_header is None:
                raise ValueError(f"version {version} of the format")
            shape, _, dtype = read_header(file)
            if dtype.kind not in "biuf":
                raise ValueError(f"of type {dtype}")
            if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > entry.file_size:
                raise ValueError(f"{dtype} of shape {shape} in {entry.file_size} bytes")
        with self._archive.open(entry) as file:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        if dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError("a value that is not finite")
        return array


@contextlib.contextmanager
def open_arrays(path: str | Path, what: str = ".npz") -> Iterator[Pack]:
    """The arrays of an .npz by name. Raises ImageReadError, naming what it should be, for what cannot be read."""
    try:
        archive = zipfile.ZipFile(open_input(Path(path)))
    except ImageReadError as error:
        raise ImageReadError(f"{path}: not a readable {what} ({_said(error)})") from error
    except Exception as error:  # whatever a file that is no archive makes zipfile raise
        reason = "one bare array" if Path(path).suffix == ".npy" else _said(error)
        raise ImageReadError(f"{path}: not a readable {what} ({reason})") from error
    with archive:
        yield Pack(path, what, archive)


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


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
    if labels.shape != array.shape[:1]:
        raise ImageReadError(f"{source}: labels of shape {labels.shape} for {len(array)} items")
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
        labels = pack[name]
    if labels.dtype.kind not in "iub" or labels.ndim != 1 or not len(labels):
        raise ImageReadError(f"{path}: {name} is {labels.dtype} of shape {labels.shape}; expected whole numbers, (N,)")
    return labels.astype(np.int64)


def _read_array(source: str | Path) -> np.ndarray:
    path, key = split_key(source)
    with open_arrays(path) as pack:
        key = key or next((known for known in KEYS if known in pack.files), None)
        if key is None or key not in pack.files:
            raise ImageReadError(f"{path}: holds {', '.join(pack.files)}; name one as {path.name}:KEY")
        array: np.ndarray = pack[key]
    if array.ndim < 2 or not array.size:
        raise ImageReadError(f"{path}: {key} of shape {array.shape} holds no items")
    if np.issubdtype(array.dtype, np.floating):
        if np.abs(array).max() > np.finfo(np.float32).max:
            raise ImageReadError(f"{path}: {key} holds a value beyond the range of float32")
        return array.astype(np.float32)
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise ImageReadError(
            f"{path}: {key} is {array.dtype} of shape {array.shape}; expected uint8 pictures or floats"
        )
    if array.ndim == 3:
        return array[:, None]
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if array.shape[3] in (1, 3) else array
