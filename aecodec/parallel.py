"""Work spread over threads and handed back in order; torch and zlib let go of the interpreter while they compute."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

A = TypeVar("A")
B = TypeVar("B")
#: What is to be called in a forked child, of objects that live.
_renewals: set[weakref.WeakMethod[Callable[[], object]]] = set()


class Run(Protocol):
    """What `map` does, perhaps on several items at once."""

    def __call__(self, function: Callable[[A], B], items: Iterable[A], /) -> Iterator[B]: ...


@contextmanager
def workers(jobs: int) -> Iterator[Run]:
    """A `map` over ``jobs`` threads, or the plain one for a single job. Leaving drops what has not begun."""
    if jobs <= 1:
        yield map
        return
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def after_fork(method: Callable[[], object]) -> None:
    """Have a bound method called in every process that is forked from this one, as long as its object lives.

    A fork copies one thread. The others, the pools that they made up and the locks that they held are what an object
    makes anew there.
    """
    _renewals.add(weakref.WeakMethod(method, _renewals.discard))


def _renew() -> None:
    for reference in list(_renewals):
        method = reference()
        if method is not None:
            method()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
