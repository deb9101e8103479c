"""Ray as it is found: a cluster that is there, or one started on this machine for as long as it is needed; quiet."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from ..contracts import ClusterError, MissingDependencyError, UsageError

#: The address that stands for a cluster of this machine alone, started for the occasion.
LOCAL = "local"
#: Seconds that the port of a cluster has to answer in.
_PATIENCE = 10.0
#: Bytes of the object store of a local cluster, of which Ray's least is 75 MiB: names and codes travel, not pictures.
_STORE = 100 << 20
_NEVER = logging.CRITICAL + 1


@dataclass(frozen=True)
class Workers:
    """Actors that share the work. cpus: what each takes of a node, and the threads it computes with; gpus: 0 or 1."""

    count: int
    cpus: int = 1
    gpus: int = 0


def require() -> None:
    """Raises MissingDependencyError unless Ray Data can be loaded."""
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        reason = "is not installed" if not _is_there() else f"cannot be loaded ({error})"
        raise MissingDependencyError(f"Ray Data {reason}: pip install 'aecodec[ray]'") from error


def _is_there() -> bool:
    try:
        return find_spec("ray") is not None
    except ValueError:  # what an import of nothing leaves
        return False


@contextmanager
def connected(address: str, cpus: int) -> Iterator[None]:
    """Ray within the block, and nothing of what it has to say on stdout or stderr.

    address: `LOCAL` starts a cluster of so many CPUs here and stops it in the end; any other is as of ray.init, as in
    HOST:6379 or "auto". A process that is connected already works there, whatever the address, and stays connected.
    Raises MissingDependencyError, ClusterError.
    """
    require()
    import ray

    with _silence():
        if ray.is_initialized():
            yield
            return
        _start(address, cpus)
        try:
            yield
        finally:
            ray.shutdown()


def _start(address: str, cpus: int) -> None:
    """See `connected`."""
    import ray

    told: dict[str, Any] = {"log_to_driver": False, "logging_level": _NEVER, "include_dashboard": False}
    if address != LOCAL:
        _knock(address)
        del told["include_dashboard"]
    else:
        told |= {"num_cpus": cpus, "object_store_memory": _STORE}
    try:
        with _without_stderr():
            ray.init(address=address, **told)
    except Exception as fault:
        raise ClusterError(f"{address}: no Ray cluster to work on ({_reason(fault)})") from fault


def _reason(fault: BaseException) -> str:
    """In a line. That a token is asked for, as `ray start` has it of itself and ray.init has not, Ray tells only in
    the middle of what caused it."""
    cause: BaseException | None = fault
    while cause is not None:
        if "AuthenticationError" in str(cause):
            return "it asks for a token: RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token as there"
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(fault).split())[:300] or type(fault).__name__


def _knock(address: str) -> None:
    """Raises ClusterError where nothing listens: Ray itself tries for a minute, and may end the process."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        if "://" in address or colon:
            raise ClusterError(f"{address}: is no address of a Ray cluster; expected HOST:PORT, auto or {LOCAL}")
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ClusterError(f"{address}: no Ray cluster to work on ({reason})") from error


@contextmanager
def _without_stderr() -> Iterator[None]:
    """What libraries in C++ write to stderr goes nowhere: Ray's says that it was told what to log."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _silence() -> Iterator[None]:
    """Whatever Ray logs goes to its own files alone."""
    import ray.data  # noqa: F401  (it adds the handlers)
    from ray._private import worker  # the switch of what raylets report, which goes to stdout, is nowhere else

    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing here speaks to a network unasked
    consoles = [each for each in logging.getLogger("ray.data").handlers if isinstance(each, logging.StreamHandler)]
    levels = [each.level for each in consoles]
    shown = getattr(worker, "_worker_logs_enabled", True)
    try:
        worker._worker_logs_enabled = False
        for console in consoles:
            console.setLevel(_NEVER)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray\.")
            yield
    finally:
        worker._worker_logs_enabled = shown
        for console, level in zip(consoles, levels, strict=True):
            console.setLevel(level)


def device_asked(device: str) -> str:
    """A device, "auto" as AECODEC_DEVICE answers it here, where it is set: workers have an environment of their own."""
    return os.environ.get("AECODEC_DEVICE") or device if device == "auto" else device


def workers_for(count: int | None, device: str, threads: int = 1) -> Workers:
    """Actors for a device, as the connected cluster has them: count of them, or as many as it has room for.

    A process that is not connected yet is, as ray.init() has it without arguments. Each takes a GPU if the device is
    one, or is "auto", the cluster has some, and torch is there to use them. Raises UsageError for one GPU among many,
    which Ray chooses; ClusterError where no node has what an actor takes.
    """
    import ray

    if device.startswith("cuda:"):
        raise UsageError(f"Ray gives each worker a GPU of its own: the device is cuda, not {device}")
    if not ray.is_initialized():
        ray.init()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    able = device == "cuda" or (device == "auto" and find_spec("torch") is not None)
    gpus = int(able and (device == "cuda" or any(node.get("GPU", 0) >= 1 for node in nodes)))
    room = [int(min(node.get("CPU", 0) // threads, node.get("GPU", 0) if gpus else float("inf"))) for node in nodes]
    if not any(room):
        raise ClusterError(f"no node of the Ray cluster has {threads} CPUs{' and a GPU' * gpus} for a worker")
    return Workers(count or sum(room), threads, gpus)
