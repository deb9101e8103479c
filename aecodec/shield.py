"""Torch as it begins, whatever the program around has set: the one place that keeps a caller's settings out of ours."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch

T = TypeVar("T", bound=type)
#: Devices whose operations a caller may have put under autocast.
_KINDS = ("cpu", "cuda", "mps")
_CPU = torch.device("cpu")


class _Float32:
    """The default type, which belongs to the process: float32 from the first block to begin to the last to end."""

    def __init__(self) -> None:
        self._lock, self._depth, self._before = threading.Lock(), 0, torch.float32

    def __enter__(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._before = torch.get_default_dtype()
                if self._before != torch.float32:
                    torch.set_default_dtype(torch.float32)
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._before != torch.float32:
                torch.set_default_dtype(self._before)


_float32 = _Float32()


@contextmanager
def shielded() -> Iterator[None]:
    """No autocast, float32 as the default type and the CPU as the default device, in a block or as ``@shielded()``.

    Autocast and the default device are a thread's own, and are as they were afterwards. A block may be within another.
    """
    with ExitStack() as stack:
        stack.enter_context(_float32)
        for kind in _KINDS:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device() != _CPU:
            stack.enter_context(_CPU)
        yield


def shield(entered: T) -> T:
    """A class whose public methods, and ``__init__``, run `shielded`: whoever adds one need not think of it."""
    for name, method in vars(entered).copy().items():
        if callable(method) and (name == "__init__" or not name.startswith("_")):
            guarded: Any = shielded()(method)
            setattr(entered, name, guarded)
    return entered
