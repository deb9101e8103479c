"""Small indexes that laws about them are checked on."""

from __future__ import annotations

import numpy as np

from aecodec.index.hash_index import HashIndex

PRINT = bytes(range(8))


def make(paths: bool = False, n_bits: int = 64, **options) -> HashIndex:
    return HashIndex(hasher="photo-hash", fingerprint=PRINT, n_bits=n_bits, paths=paths, **options)


def random_codes(count: int, seed: int = 0, width: int = 8) -> np.ndarray:
    """Of few bits, so that distances are often tied."""
    return np.random.default_rng(seed).integers(0, 4, (count, width), np.uint8)


def small(paths: bool = True, count: int = 7) -> HashIndex:
    index = make(paths, root="/photos" if paths else "")
    names = [f"{n % 3}/picture{n}.jpg" for n in range(count)] if paths else [3, 5, 8, 1000, 2**40, 2**62, 9][:count]
    stamps = np.arange(2 * count).reshape(count, 2) if paths else None
    index.add(names, random_codes(count), stamps=stamps)
    return index


def state(index: HashIndex) -> tuple:
    stamps = None if index.stamps is None else index.stamps.tolist()
    return index.hasher, index.fingerprint, index.n_bits, index.root, index.ids.tolist(), index.codes.tolist(), stamps
