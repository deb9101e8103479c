"""Work of commands handed to a Ray cluster: the same code, lines and exit codes, elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..contracts import AecodecError, ClusterError, UsageError, error_of
from ..index.threads import cores
from .batch import Job, Opening, Result, attempt, limit_pixels, settled
from .output import warnings_as_notices

if TYPE_CHECKING:
    from ..search.updating import HashGroups

#: What is done again if a worker dies: files that one compresses at a time, groups of files that it hashes.
FILES, GROUPS = 4, 4

ray_option = click.option(
    "--ray",
    metavar="ADDRESS|local",
    help="Work on a Ray cluster: HOST:PORT, auto, or local for one here; -j workers, all that it has unless given.",
)


def _jobs_asked() -> int | None:
    """``-j`` of the command that is running, if it was given."""
    context = click.get_current_context()
    given = context.get_parameter_source("jobs") is not ParameterSource.DEFAULT
    return int(context.params["jobs"]) if given else None


@contextmanager
def jobs_on_ray(
    jobs: list[Job], opening: Opening, batch: dict[str, Any], *, address: str, models: Sequence[str]
) -> Iterator[Iterator[tuple[Job, Result]]]:
    """As `batch.in_threads`, by the workers of a cluster. models: names of those that are opened.

    What exists already is told before there is a cluster, and none is started where nothing is to be done. Raises
    UsageError for standard streams, ClusterError, MissingDependencyError.
    """
    if any("-" in (job.source, job.target) for job in jobs):
        raise UsageError("a cluster has no standard streams: --ray takes names of files")
    known = {job: result[0] for job in jobs if (result := settled(job, batch)) is not None}
    todo = [job for job in jobs if job not in known]

    def merged(results: Iterator[Result]) -> Iterator[tuple[Job, Result]]:
        for job in jobs:
            yield job, known[job] if job in known else next(results)

    if not todo:
        yield merged(iter(()))
        return
    from ..ray.agreement import Agreement, witness
    from ..ray.cluster import connected, device_asked, workers_for
    from ..ray.running import run

    threads, asked, device = batch["threads"] or 1, _jobs_asked(), device_asked(batch["device"])
    there = {**batch, "jobs": 1, "threads": threads, "device": device, "again": True}
    with witness(Path(todo[0].target).parent) as seen:
        agreement = Agreement.of([Path(todo[0].source), seen], models)
        with connected(address, (asked or cores()) * threads):
            workers = workers_for(asked, device, threads)
            with closing(run(partial(_open_attempts, opening, there), todo, agreement, workers, FILES)) as results:
                yield merged(_named(result, job.source) for job, result in zip(todo, results, strict=True))


def _open_attempts(opening: Opening, batch: dict[str, Any]) -> Callable[[Job], Result]:
    """In a worker: what does jobs to the end."""
    limit_pixels(batch)
    work = opening(batch)

    def done(job: Job) -> Result:
        with warnings_as_notices():
            return attempt(work, job, batch)

    return done


def _named(result: Result, name: str) -> Result:
    return error_of(name, result) if isinstance(result, ClusterError) else result


def groups_on_ray(
    address: str, opening: Callable[[], Callable[[Sequence[Path]], list[bytes | AecodecError]]], device: str, model: str
) -> HashGroups:
    """What hashes groups of files by the workers of a cluster, which is started only if there are any.

    opening: opens a hasher in a worker -> what hashes a group. model: the hasher's name.
    """

    def hash_groups(groups: Sequence[Sequence[Path]]) -> Iterator[list[bytes | AecodecError]]:
        if not groups:
            return
        from ..ray.agreement import Agreement
        from ..ray.cluster import connected, workers_for
        from ..ray.running import run

        asked, agreement = _jobs_asked(), Agreement.of(groups[0][:1], [model])
        with connected(address, asked or cores()):
            workers = workers_for(asked, device)
            for group, codes in zip(groups, run(opening, groups, agreement, workers, GROUPS), strict=True):
                if not isinstance(codes, ClusterError):
                    yield codes
                    continue
                alone = run(opening, [[path] for path in group], agreement, workers, 1)
                yield [one if isinstance(one, ClusterError) else one[0] for one in alone]

    return hash_groups
