"""The law of packs of arrays (.npz): a named error, or finite numbers of a shape. The archive's checksums are right."""

from __future__ import annotations

import io
import random
import struct
import zipfile

import numpy as np

from aecodec.contracts import AecodecError
from aecodec.data.arrays import array_names, read_array, read_labels
from aecodec.data.shapes import read_shapes
from aecodec.data.speech import RATE, read_clips

from .law import FileLaw, changed

_ARRAYS = {
    "x_train": np.arange(96, dtype=np.uint8).reshape(4, 4, 6),
    "y_train": np.arange(4),
    "points": np.linspace(-1, 1, 2 * 9 * 3).reshape(2, 9, 3),
    "segment": np.arange(18).reshape(2, 9) % 3,
    "audio": np.arange(400, dtype=np.int16),
    "offsets": np.array([0, 100, 250, 400]),
    "sample_rate": np.array([RATE]),
    "speaker": np.array([0, 1, 1]),
}
_TYPES = (
    "'<f4'",
    "'<f8'",
    "'<f2'",
    "'|u1'",
    "'<i8'",
    "'<i2'",
    "'<c8'",
    "'|O'",
    "'<U9'",
    "'<M8[s]'",
    "[('a', '<f4')]",
    "1",
)
_SIDES = ("-1", "0", "1", "2", "4", "9", "100", "4294967296", "1099511627776", "'a'", "None", "1.5")


def npy(descr: str, shape: str, data: bytes, order: str = "False") -> bytes:
    """An array's bytes with a header of any claims."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


class PackLaw(FileLaw):
    """See the module's docstring."""

    suffix = ".npz"

    def __init__(self) -> None:
        super().__init__()
        self._members = {}
        for name, array in _ARRAYS.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            self._members[name] = buffer.getvalue()
        self._seed = self._archive(self._members, zipfile.ZIP_DEFLATED)

    def _archive(self, members: dict[str, bytes], method: int) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), data, method)
        return buffer.getvalue()

    def make(self, rng: random.Random, number: int) -> tuple[bytes, bool]:
        """Changed as an archive's bytes, or in one array: its bytes, its header's claims, or its values."""
        kind = rng.randrange(4)
        if kind == 0:
            return changed(rng, self._seed, [self._seed], head=len(self._seed)), False
        members, name = dict(self._members), rng.choice(list(self._members))
        if kind == 1:
            members[name] = changed(rng, members[name], list(members.values()))
        elif kind == 2:
            sides = ", ".join(rng.choice(_SIDES) for _ in range(rng.randrange(5)))
            data = rng.randbytes(rng.choice((0, 16, 400)))
            members[name] = npy(
                rng.choice(_TYPES), f"({sides},)" if sides else "()", data, rng.choice(("False", "True"))
            )
        else:
            array = _ARRAYS[name].astype(rng.choice(["f2", "f4", "f8", "i2", "i8", "u1"]))
            if array.dtype.kind == "f":
                array.reshape(-1)[rng.randrange(array.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e4, -1.0])
            elif array.size > 1:
                array = np.roll(array, 1)
            buffer = io.BytesIO()
            np.save(buffer, array.reshape(-1) if rng.random() < 0.3 else array)
            members[name] = buffer.getvalue()
        if rng.random() < 0.1:
            del members[rng.choice(list(members))]
        return self._archive(members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))), True

    def outcome(self, data: bytes, repaired: bool) -> str:
        """All that read packs."""
        array_names(self.path)
        words = []
        for read in (read_array, read_labels, read_shapes, read_clips):
            try:
                found = read(self.path)
            except AecodecError as error:
                words.append(type(error).__name__)
                continue
            words.append("read")
            array = getattr(found, "samples", found)
            if not np.isfinite(array).all() or not array.size:
                raise AssertionError(f"{read.__name__} gave {array.shape} with values that are not finite")
        return " ".join(words)
