"""Any work on many items by actors of Ray Data: each opens once what it works with, and no item is lost with one."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ..contracts import AecodecError, ClusterError, UnexpectedError
from .agreement import Agreement
from .cluster import Workers

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset

A = TypeVar("A")
B = TypeVar("B")
#: Items of one dataset. Of more, the driver would hold too much; actors are started anew for each.
WAVE = 1 << 17
#: Times that Ray itself does a task once more whose actor died.
_RETRIES = 1


class Actor:
    """What a worker holds: a function that was opened there, once."""

    def __init__(self, opening: Callable[[], Callable[[Any], Any]], agreement: Agreement) -> None:
        self._opening, self._agreement = opening, agreement
        self._work: Callable[[Any], Any] | None = None

    def work(self) -> Callable[[Any], Any]:
        """The function. Raises ClusterError where worker and driver do not agree, and what opening it does."""
        if self._work is None:
            self._agreement.check()
            self._work = self._opening()
        return self._work


class TableActor(Actor):
    """Tables to tables."""

    def __call__(self, table: pa.Table) -> pa.Table:
        return self.work()(table)


class _ItemActor(Actor):
    """Numbered and pickled items to numbered and pickled results; -1 is the number of an error that ends the work."""

    def __call__(self, table: pa.Table) -> pa.Table:
        try:
            work = self.work()
        except Exception as fault:
            error = fault if isinstance(fault, AecodecError) else UnexpectedError.of(fault)
            return _table([(-1, error)], "result")
        numbers, items = table["number"].to_pylist(), map(pickle.loads, table["item"].to_pylist())
        return _table([(number, work(item)) for number, item in zip(numbers, items, strict=True)], "result")


def _table(numbered: Iterable[tuple[int, Any]], column: str) -> pa.Table:
    import pyarrow as pa

    numbers, things = zip(*numbered, strict=True)
    return pa.table({"number": pa.array(numbers, pa.int64()), column: pa.array(map(pickle.dumps, things), pa.binary())})


def mapped(
    dataset: Dataset,
    actor: type[TableActor] | type[_ItemActor],
    opening: Callable[[], Callable[[Any], Any]],
    agreement: Agreement,
    workers: Workers,
    rows: int | None = None,
) -> Dataset:
    """A dataset through actors, lazily. rows: of the tables that they are called with, whole blocks unless given."""
    import ray.data

    with warnings.catch_warnings():
        # Releases from 2.64 on will not take what is no argument by name, and offer nothing for it as yet. Left alone,
        # a task that kills its actor is done again for ever.
        warnings.simplefilter("ignore")
        return dataset.map_batches(
            actor,
            batch_size=rows,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers.count),
            fn_constructor_args=(opening, agreement),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus,
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )


def run(
    opening: Callable[[], Callable[[A], B]], items: Sequence[A], agreement: Agreement, workers: Workers, rows: int
) -> Generator[B | ClusterError, None, None]:
    """The result of each item, in order, as ``map(opening(), items)`` gives them.

    opening, items and results travel pickled. rows: items that an actor is given at a time, at most. What an actor died
    with is done again, in the end alone; an item that no actor survives gives a ClusterError. Raises what
    `Agreement.check` and the opening raise in a worker, and ClusterError where the cluster itself fails.
    """
    for start in range(0, len(items), WAVE):
        wave, results = items[start : start + WAVE], {}
        following = 0
        for number, result in _results(opening, list(enumerate(wave)), agreement, workers, rows):
            results[number] = result
            while following in results:
                yield results.pop(following)
                following += 1
        lost = [(number, wave[number]) for number in range(following, len(wave)) if number not in results]
        results.update(_results(opening, lost, agreement, workers, 1))
        for number in range(following, len(wave)):
            yield results.pop(number, ClusterError("no worker survived it: each that took it died"))


def _results(
    opening: Callable[[], Callable[[A], B]],
    numbered: Sequence[tuple[int, A]],
    agreement: Agreement,
    workers: Workers,
    rows: int,
) -> Iterator[tuple[int, B]]:
    """Numbers and results in any order, without those of actors that died. Raises as `run` does."""
    if not numbered:
        return
    import ray
    import ray.data

    rows = max(1, min(rows, -(-len(numbered) // workers.count)))  # of little, each has some
    blocks = [_table(numbered[start : start + rows], "item") for start in range(0, len(numbered), rows)]
    dataset = ray.data.from_arrow(blocks)
    dataset.context.max_errored_blocks = -1
    dataset.context.enable_progress_bars = False
    done = mapped(dataset, _ItemActor, opening, agreement, replace(workers, count=min(workers.count, len(blocks))))
    try:
        table: pa.Table
        for table in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for number, result in zip(table["number"].to_pylist(), table["result"].to_pylist(), strict=True):
                if number < 0:
                    raise pickle.loads(result)
                yield number, pickle.loads(result)
    except ray.exceptions.RayError as fault:
        reason = str(fault).strip().splitlines()[0][:300]
        raise ClusterError(f"the Ray cluster ended the work: {type(fault).__name__}: {reason}") from fault
