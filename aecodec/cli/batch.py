"""Many inputs, one command: which output each gets, and how they are worked through, several at once if asked."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import click

from ..coding.container import SUFFIX as AEC
from ..contracts import (
    AecodecError,
    ImageReadError,
    OutputError,
    OutputExistsError,
    PictureTooLargeError,
    UsageError,
    error_of,
)
from ..data.files import make_folder, open_input, write_atomic
from ..data.folders import Walk
from ..data.outputs import check_distinct, check_output, identities, input_replaced, output_below
from ..parallel import workers
from .numbers import parse_size
from .output import THREADS, emit_json, expand, fail, notice, progress, say, warnings_kept


@dataclass(frozen=True)
class Job:
    """One input and where its output goes; "-" is a standard stream."""

    source: str
    target: str

    @property
    def sources(self) -> list[Path]:
        """The file that the output is made of, if it is one."""
        return [] if self.source == "-" else [Path(self.source)]


#: Does a job -> its record.
Work = Callable[[Job], dict[str, Any]]
#: Flags -> what works with models that are loaded where it is called.
Opening = Callable[[dict[str, Any]], Work]
#: What came of a job: its record, its error, or None where its output exists and was to be left alone.
Result = dict[str, Any] | AecodecError | None
#: Jobs, what opens their models, the flags -> each job with its result, in order.
Spread = Callable[[list[Job], Opening, dict[str, Any]], AbstractContextManager[Iterator[tuple[Job, Result]]]]


def batch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that both directions share."""
    options = [
        click.argument("inputs", nargs=-1, required=True, metavar="IN... [OUT]"),
        click.option("-o", "--output", metavar="PATH", help="Output file, or folder (with a trailing / or existing)."),
        click.option("-f", "--force", is_flag=True, help="Overwrite existing outputs."),
        click.option("--skip-existing", is_flag=True, help="Leave inputs alone whose output exists."),
        click.option("-r", "--recursive", is_flag=True, help="Walk folders."),
        click.option("--append-ext", is_flag=True, help="photo.png becomes photo.png.aec, not photo.aec."),
        click.option("--preserve-times", is_flag=True, help="Give the output the input's modification time."),
        click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
        click.option("-m", "--model", metavar="NAME|PATH", help="Model of the zoo, the cache, or a checkpoint file."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps."),
        click.option(
            "--precision", default="auto", show_default=True, help="Of the transforms: auto, float32, bfloat16."
        ),
        click.option(
            "--engine",
            default="auto",
            show_default=True,
            help="What computes: onnx on a CPU, torch elsewhere; auto, onnx or torch.",
        ),
        click.option("--threads", type=THREADS, help="CPU threads of each computation."),
        click.option(
            "-j",
            "--jobs",
            type=THREADS,
            default=1,
            show_default=True,
            help="Files worked on at once, or tiles if there is one file.",
        ),
        click.option("--max-pixels", metavar="N", help="Refuse larger pictures: 89000000, 400M.  [default: 89M]"),
        click.option("--json", "as_json", is_flag=True, help="One JSON line per file on stdout."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def plan(batch: dict[str, Any], suffix: str, walk: Walk) -> list[Job]:
    """Arguments -> jobs. Raises UsageError where outputs are ambiguous or collide, OutputExistsError where
    one is an input."""
    inputs, output = list(batch["inputs"]), batch["output"]
    if output is None and len(inputs) == 2 and _looks_like_output(inputs, suffix):
        output = inputs.pop()
    if batch["force"] and batch["skip_existing"]:
        raise UsageError("--force and --skip-existing exclude each other")
    found = expand(inputs, batch["recursive"], walk)
    if not found:
        remark = f": {walk.summary}" if walk.summary else ""
        raise UsageError(f"no files of a known kind in the given folders{remark}")
    into_folder = output is not None and output != "-" and (output.endswith(("/", os.sep)) or Path(output).is_dir())
    if len(found) > 1 and output is not None and not into_folder:
        raise UsageError(f"several inputs need a folder as output; {output} is none (write {output}/)")
    advice = "; compress them into different folders" if batch["append_ext"] else "; use --append-ext"
    jobs = [
        Job(source, _target(source, root, output, into_folder, suffix, batch["append_ext"])) for source, root in found
    ]
    check_distinct(((Path(job.target), job.source) for job in jobs if job.target != "-"), advice)
    read = identities([*(Path(job.source) for job in jobs), *([Path(batch["model"])] if batch["model"] else [])])
    replaced = [job.target for job in jobs if job.target != "-" and not read.isdisjoint(identities([Path(job.target)]))]
    if replaced:
        raise input_replaced(Path(replaced[0]))
    if len(jobs) == 1 and not batch["dry_run"]:
        _exists(jobs[0], batch)  # before any model is loaded
    return jobs


def _looks_like_output(inputs: list[str], suffix: str) -> bool:
    """IN OUT, told from IN IN by the suffixes: only one of a pair is an .aec file."""
    first, second = Path(inputs[0]).suffix.lower(), Path(inputs[1]).suffix.lower()
    if inputs[1] == "-":
        return True
    return (second == AEC and first != AEC) if suffix == AEC else (first == AEC and second not in ("", AEC))


def _target(source: str, root: Path | None, output: str | None, into_folder: bool, suffix: str, append: bool) -> str:
    if output is not None and not into_folder:
        return output
    if source == "-":
        if output is None:
            return "-"
        raise UsageError("standard input has no name; give the output one with -o FILE")
    path = Path(source)
    if output is None:
        return str(output_below(path.parent, path, None, suffix, append))
    return str(output_below(Path(output), path, root, suffix, append))


def announce(jobs: list[Job]) -> int:
    """Print what would be done -> exit code."""
    for job in jobs:
        say(f"{job.source} -> {job.target}")
    return 0


def attempt(work: Work, job: Job, batch: dict[str, Any]) -> Result:
    """Do a job to the end -> its record with whatever it was warned of, or its error."""
    try:
        with warnings_kept() as warned:
            record = work(job)
        record["notices"] = [*record["notices"], *(f"{job.source}: {text}" for text in warned)]
        if batch["preserve_times"] and "-" not in (job.source, job.target):
            times = os.stat(job.source)
            os.utime(job.target, ns=(times.st_atime_ns, times.st_mtime_ns))
        return record
    except BrokenPipeError:
        raise  # nobody reads standard output any more
    except PictureTooLargeError as error:
        return error_of(job.source, PictureTooLargeError(f"{error} (--max-pixels raises it)"))
    except Exception as fault:
        return error_of(job.source, fault, job.target)


def settled(job: Job, batch: dict[str, Any]) -> tuple[Result] | None:
    """What comes of a job of which nothing is to be done, since its output is there or cannot be; else None."""
    try:
        return (None,) if _exists(job, batch) else None
    except Exception as fault:
        return (error_of(job.source, fault, job.target),)


@contextlib.contextmanager
def in_threads(jobs: list[Job], opening: Opening, batch: dict[str, Any]) -> Iterator[Iterator[tuple[Job, Result]]]:
    """The jobs with what came of each, ``-j`` of them done at once by threads of this process."""
    work = opening(batch)

    def done(job: Job) -> tuple[Job, Result]:
        known = settled(job, batch)
        return job, attempt(work, job, batch) if known is None else known[0]

    with workers(batch["jobs"] if len(jobs) > 1 else 1) as run:
        yield run(done, jobs)


def carry_out(
    jobs: list[Job],
    opening: Opening,
    summary: Callable[[dict[str, Any]], str],
    batch: dict[str, Any],
    label: str,
    spread: Spread = in_threads,
) -> int:
    """Do the jobs and report them in order; a failure does not stop the rest -> exit code.

    summary: a record as a line for people; spread: who does them.

    One input: the code of its error. Several: 1 if any failed.
    """
    codes = []
    with spread(jobs, opening, batch) as results:
        for job, result in progress(results, len(jobs), label, batch["as_json"]):
            if result is None:
                notice(f"{job.target}: exists, skipped")
            elif isinstance(result, AecodecError):
                codes.append(fail(result, {"input": job.source, "output": job.target} if batch["as_json"] else None))
            else:
                _report(job, result, summary, batch["as_json"])
    if len(jobs) == 1 and codes:
        return codes[0]
    return 1 if codes else 0


def _report(job: Job, record: dict[str, Any], summary: Callable[[dict[str, Any]], str], as_json: bool) -> None:
    for message in record["notices"]:
        notice(message)
    if as_json:
        emit_json(record)
    else:
        say(summary(record), err=job.target == "-")


def _exists(job: Job, batch: dict[str, Any]) -> bool:
    """Whether the job is to be skipped. Raises OutputError and its kin early, before any work is lost."""
    if job.target == "-":
        return False
    skip = batch["skip_existing"]
    return check_output(Path(job.target), overwrite=batch["force"] or skip) is not None and skip


def open_source(source: str) -> BinaryIO:
    """An input, or standard input for "-", open for reading. Raises ImageReadError."""
    if source != "-":
        return open_input(Path(source))
    if sys.stdin is None:
        raise ImageReadError("-: standard input is closed")
    return sys.stdin.buffer


def is_pipe(source: str) -> bool:
    """Whether an input can be read once only, and tells its size by that alone: standard input, <(...)."""
    return source == "-" or Path(source).is_fifo()


def read_source(source: str) -> bytes:
    """All bytes of an input. Raises ImageReadError."""
    with open_source(source) as file:
        data = file.read()
    if not data:
        raise ImageReadError(f"{source}: the file is empty")
    return data


def binary_output() -> BinaryIO:
    """Standard output for bytes. Raises OutputError where it is closed, UsageError where it is a terminal."""
    if sys.stdout is None:
        raise OutputError("standard output is closed; use -o FILE")
    if sys.stdout.isatty():
        raise UsageError("refusing to write a binary file to a terminal; redirect stdout or use -o FILE")
    return sys.stdout.buffer


def deliver(data: bytes, job: Job, batch: dict[str, Any]) -> None:
    """Write a job's whole output, "-" being standard output. Raises OutputError and its kin."""
    if job.target == "-":
        stream = binary_output()
        stream.write(data)
        stream.flush()
        return
    target = Path(job.target)
    make_folder(target.parent)
    try:
        write_atomic(target, data, overwrite=batch["force"], sources=job.sources)
    except OutputExistsError:
        # A worker may have died between this and telling of it.
        if not (batch.get("again") and target.read_bytes() == data):
            raise


def share_processor(batch: dict[str, Any]) -> None:
    """Give the engine the threads asked for, or those that parallel jobs leave to each."""
    if batch["threads"] is not None or batch["jobs"] > 1:
        from ..engine.opening import limit_threads

        limit_threads(batch["threads"] or max(1, (os.cpu_count() or 1) // batch["jobs"]))


def limit_pixels(batch: dict[str, Any]) -> None:
    """Set Pillow's limit, which everything honours, to the one asked for. Raises UsageError."""
    if batch["max_pixels"] is not None:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = parse_size(batch["max_pixels"])
