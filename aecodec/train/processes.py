"""What a training process shares with its surroundings: sibling processes and signals."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from ..device import pick_device


@dataclass(frozen=True)
class World:
    """The processes that train one model together; alone, every question answers itself."""

    device: torch.device
    rank: int = 0
    size: int = 1

    def largest(self, *values: float) -> list[float]:
        """The largest of each value over all processes; every process must ask."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor.tolist()

    def gather(self, row: torch.Tensor) -> torch.Tensor:
        """row (n,) of each process -> (size, n) of its type on the CPU, in the order of ranks; all must ask."""
        if self.size == 1:
            return row[None]
        rows = [torch.empty_like(row, device=self.device) for _ in range(self.size)]
        dist.all_gather(rows, row.to(self.device))
        return torch.stack(rows).cpu()


@contextlib.contextmanager
def join_processes(device_name: str) -> Iterator[World]:
    """The world that torchrun's environment describes, one device per process. Raises UsageError."""
    device = pick_device(device_name)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(device)
        return
    if device.type == "cuda":
        if device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    # A process that fails leaves without taking the group down, which would wait for siblings that are
    # themselves waiting for it; its exit status makes torchrun end them.
    yield World(device, dist.get_rank(), size)
    # Nobody leaves before the first process has written its files, and the distributed module, which sits
    # in a reference cycle, goes before the group whose threads it uses.
    dist.barrier()
    gc.collect()
    dist.destroy_process_group()


@contextlib.contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Within it, Ctrl-C and SIGTERM only ask for an end; yields the question whether anyone asked."""
    asked: list[int] = []

    def handle(number: int, frame: Any) -> None:
        asked.append(number)

    # Python lets the main thread alone install handlers; elsewhere the program's own stay in force.
    wanted = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    previous = {number: signal.signal(number, handle) for number in wanted}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
