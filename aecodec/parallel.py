"""Work spread over threads and handed back in order; torch and zlib let go of the interpreter while they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

A = TypeVar("A")
B = TypeVar("B")


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
