"""A checkpoint told by what changed from another: where a model was tuned from an embedded one, half of its bytes.

Of each wide float16 tensor that its base has in the same shape, the file holds the differences, in int8 under
``changes/``, in steps of a power of two for each row, whose exponents are under ``steps/``:

    weight = float16(float32(base) + float32(change) * 2^step)

All else is held whole, and so is a tensor that differences cannot tell. Sums are of float32 and rounded once, so every
machine finds the same weights, and the fingerprint is of those.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

#: Where a file holds differences, and their steps.
CHANGES, STEPS = "changes/", "steps/"
#: The largest difference in steps: less than int8 holds, so that rounding to float16 asks for no longer step.
LARGEST = 126
#: The shortest step, 2^this: float16 has nothing finer.
FINEST = -24
#: Tensors of fewer numbers are held whole.
LEAST = 1024
#: Rounds in which weights settle on what differences can tell.
ROUNDS = 8


def apply(tensors: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of a file, and those of its base -> the whole model's. Raises ValueError where they do not fit."""
    whole = {name: array for name, array in tensors.items() if not name.startswith((CHANGES, STEPS))}
    changed = {name.removeprefix(CHANGES) for name in tensors if name.startswith(CHANGES)}
    if changed != {name.removeprefix(STEPS) for name in tensors if name.startswith(STEPS)} or changed & whole.keys():
        raise ValueError("its changes and their steps are not of the same tensors")
    for name in sorted(changed):
        change, step, before = tensors[CHANGES + name], tensors[STEPS + name], base.get(name)
        if before is None or before.dtype != np.float16 or change.shape != before.shape or before.ndim < 2:
            raise ValueError(f"its base has no such {name[:100]!r}")
        if change.dtype != np.int8 or step.dtype != np.int8 or step.shape != change.shape[:1]:
            raise ValueError(f"the changes of {name[:100]!r} are {change.dtype} with steps {step.dtype} {step.shape}")
        whole[name] = _sum(before, change, step)
        if not np.isfinite(whole[name]).all():
            raise ValueError(f"{name[:100]!r} becomes a value that is not finite")
    return whole


def _sum(before: np.ndarray, change: np.ndarray, step: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        moved = before.astype(np.float32) + change.astype(np.float32) * _lengths(step, change.ndim)
        return moved.astype(np.float16)


def _lengths(step: np.ndarray, axes: int) -> np.ndarray:
    """Exponents of rows -> 2^step, (rows, 1, ...) float32."""
    return np.ldexp(np.float32(1.0), step.astype(np.int32)).reshape(-1, *(1,) * (axes - 1))


def split(whole: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `apply`. What `settle` gave is told by differences."""
    tensors = {}
    for name, after in whole.items():
        if _related(after, base.get(name)):
            change, step = _differences(after, base[name])
            if np.array_equal(_sum(base[name], change, step), after):
                tensors[CHANGES + name], tensors[STEPS + name] = change, step
                continue
        tensors[name] = after
    return tensors


def settle(
    whole: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray], exact: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Weights rounded to the nearest that differences of their base can tell. exact: tensors that stay as they are."""
    return {
        name: _settled(after, base[name]) if name not in exact and _related(after, base.get(name)) else after
        for name, after in whole.items()
    }


def _related(after: np.ndarray, before: np.ndarray | None) -> bool:
    """Whether a tensor is told by differences."""
    if before is None or after.shape != before.shape or after.ndim < 2 or after.size < LEAST:
        return False
    return after.dtype == before.dtype == np.float16


def _settled(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    for _ in range(ROUNDS):
        found = _sum(before, *_differences(after, before))
        if np.array_equal(found, after):
            break
        after = found
    return after


def _differences(after: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tensor and base -> differences in steps, int8 of their shape, and exponents of the steps, int8 (rows,)."""
    difference = after.astype(np.float32) - before.astype(np.float32)
    largest = np.abs(difference).reshape(len(difference), -1).max(axis=1) / np.float32(LARGEST)
    # frexp: largest = m 2^e with m in [1/2, 1), so 2^e is the next power of two above.
    step = np.frexp(largest)[1].clip(FINEST, 127).astype(np.int8)
    return np.rint(difference / _lengths(step, difference.ndim)).astype(np.int8), step
