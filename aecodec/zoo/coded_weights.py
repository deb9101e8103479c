"""Wide weights told by int8 codes, in half the bytes of float16: by themselves, or as what changed from a checkpoint.

Of each row of a tensor (what has one index of its first axis), the file holds a length, and of each weight how many
lengths it is:

    weight = float16(float32(base) + float32(code) * length)

Where there is a base that has the tensor in the same shape, codes are under ``changes/``, and lengths are powers of
two whose exponents, int8, are under ``steps/``. Otherwise base is 0, codes are under ``codes/``, and lengths, float32,
under ``scales/``: a row's largest weight over 127.

Lengths and codes follow from the weights. So nothing needs to say which tensors they tell: `split` tells by them
whatever they tell exactly, and holds all else whole. Products and sums are of float32, and rounded once more to
float16, so every machine finds the same weights, and the fingerprint is of those.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

#: The largest change in steps: less than int8 holds, so that rounding to float16 asks for no longer step.
LARGEST_CHANGE = 126
#: The largest code.
LARGEST_CODE = 127
#: The shortest length, 2^this: float16 has nothing finer.
FINEST = -24
#: Tensors of fewer numbers, and those of shorter rows where lengths are float32, are held whole.
LEAST, SHORTEST_ROW = 1024, 16
#: Rounds in which weights settle on what codes can tell.
ROUNDS = 8


@dataclass(frozen=True)
class _Way:
    """A way to tell weights. codes, lengths: where a file holds them, and as which type the latter; decode: of lengths
    as the file has them, to float32; encode: (difference from the base, float32) -> codes and the file's lengths;
    shortest_row: of tensors told so."""

    codes: str
    lengths: str
    kind: type[np.generic]
    decode: Callable[[np.ndarray], np.ndarray]
    encode: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    shortest_row: int


def _powers(steps: np.ndarray) -> np.ndarray:
    return np.ldexp(np.float32(1.0), steps.astype(np.int32))


def _changes(difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # frexp: largest = m 2^e with m in [1/2, 1), so 2^e is the next power of two above.
    step = np.frexp(_largest(difference) / np.float32(LARGEST_CHANGE))[1].clip(FINEST, 127).astype(np.int8)
    return _codes(difference, _powers(step)), step


def _positive(scales: np.ndarray) -> np.ndarray:
    if not (scales > 0).all():
        raise ValueError("its scales are not all positive")
    return scales


def _multiples(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # The largest weight is told exactly, so that from what codes tell the same scale follows.
    scale = np.maximum(_largest(weights) / np.float32(LARGEST_CODE), np.float32(2.0**FINEST))
    return _codes(weights, scale), scale


_OF_BASE = _Way("changes/", "steps/", np.int8, _powers, _changes, 1)
_ALONE = _Way("codes/", "scales/", np.float32, _positive, _multiples, SHORTEST_ROW)
_WAYS = (_OF_BASE, _ALONE)
_ZERO = np.zeros((), np.float16)


def apply(tensors: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of a file, and those of its base, {} if it has none -> the whole model's, what was told in float16.

    Raises ValueError where codes and lengths do not fit one another or the base, or tell what is not finite.
    """
    prefixes = tuple(prefix for way in _WAYS for prefix in (way.codes, way.lengths))
    whole = {name: array for name, array in tensors.items() if not name.startswith(prefixes)}
    for way in _WAYS:
        told, lengths = (
            {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
            for prefix in (way.codes, way.lengths)
        )
        if told.keys() != lengths.keys() or told.keys() & whole.keys():
            raise ValueError(f"its {way.codes[:-1]} and {way.lengths[:-1]} are not of the same tensors, once each")
        for name in sorted(told):
            whole[name] = _told(way, name[:100], told[name], lengths[name], _before(way, base, name))
    return whole


def _before(way: _Way, base: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """What codes of a tensor are added to, None if there is no such."""
    return _ZERO if way is _ALONE else base.get(name)


def _told(way: _Way, name: str, code: np.ndarray, length: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """One tensor from its codes. Raises ValueError."""
    if code.dtype != np.int8 or length.dtype != way.kind or code.ndim < 2 or length.shape != code.shape[:1]:
        shapes = f"{code.dtype} {code.shape} and {length.dtype} {length.shape}"
        raise ValueError(f"the {way.codes[:-1]} and {way.lengths[:-1]} of {name!r} are {shapes}")
    if before is None or before.dtype != np.float16 or (before is not _ZERO and code.shape != before.shape):
        raise ValueError(f"its base has no such {name!r}")
    found = _sum(before, code, way.decode(length))
    if not np.isfinite(found).all():
        raise ValueError(f"{name!r} becomes a value that is not finite")
    return found


def split(whole: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `apply`. What `settle` gave is told by codes."""
    tensors = {}
    for name, after in whole.items():
        tensors[name] = after
        for way in _WAYS:
            before = _before(way, base, name)
            if before is None or not _may_tell(way, after, before):
                continue
            found, code, length = _nearest(way, after, before)
            # Bytes are compared: a fingerprint tells -0 from 0.
            if found.tobytes() == after.tobytes():
                del tensors[name]
                tensors |= {way.codes + name: code, way.lengths + name: length}
                break
    return tensors


def settle(
    whole: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray], exact: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Weights rounded to the nearest that codes can tell: as changes of a base, where it has them in the same shape, or
    without a base, {}, by themselves. exact: tensors that stay as they are."""
    way = _OF_BASE if base else _ALONE
    settled = dict(whole)
    for name in whole.keys() - set(exact):
        before = _before(way, base, name)
        if before is None or not _may_tell(way, whole[name], before):
            continue
        for _ in range(ROUNDS):
            last = settled[name]
            settled[name] = _nearest(way, last, before)[0]
            if np.array_equal(last, settled[name]):
                break
    return settled


def _may_tell(way: _Way, after: np.ndarray, before: np.ndarray) -> bool:
    """Whether a tensor is told so, if its values allow."""
    if after.ndim < 2 or after.size < max(LEAST, way.shortest_row * len(after)):
        return False
    return after.dtype == before.dtype == np.float16 and (before is _ZERO or before.shape == after.shape)


def _nearest(way: _Way, after: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What comes near a tensor, the codes and the lengths that tell it."""
    code, length = way.encode(after.astype(np.float32) - before.astype(np.float32))
    return _sum(before, code, way.decode(length)), code, length


def _sum(before: np.ndarray, code: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        moved = before.astype(np.float32) + code.astype(np.float32) * _along(lengths, code.ndim)
        return moved.astype(np.float16)


def _largest(numbers: np.ndarray) -> np.ndarray:
    """Of each row, its largest magnitude."""
    found: np.ndarray = np.abs(numbers).reshape(len(numbers), -1).max(axis=1)
    return found


def _codes(numbers: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # what is not finite is told by no codes
        return np.rint(numbers / _along(lengths, numbers.ndim)).astype(np.int8)


def _along(lengths: np.ndarray, axes: int) -> np.ndarray:
    """Of rows, in the shape in which they meet a tensor of so many axes."""
    return lengths.reshape(-1, *(1,) * (axes - 1))
