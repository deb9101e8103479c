"""Threads: work spread over them and handed back in order, and what of them does not outlive a fork.

torch and zlib let go of the interpreter while they compute.
"""

from __future__ import annotations

import os
import threading
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


class Lock:
    """Lets one thread in at a time. A forked child finds it open, whoever held it; copies and pickles are new ones."""

    def __init__(self) -> None:
        self._renew()
        after_fork(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Lock], tuple[()]]:
        return Lock, ()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Pool:
    """Threads that are started when they are first needed, and anew in a forked child."""

    def __init__(self, threads: int, name: str, initializer: Callable[[], None] = lambda: None) -> None:
        """initializer: called in each thread when it starts."""
        self._make = lambda: ThreadPoolExecutor(threads, name, initializer)
        self._lock = Lock()
        self._renew()
        after_fork(self._renew)

    def _renew(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    def executor(self) -> ThreadPoolExecutor:
        """The threads, started."""
        with self._lock:
            if self._executor is None:
                self._executor = self._make()
            return self._executor
