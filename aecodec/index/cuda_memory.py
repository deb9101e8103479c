"""Codes on a CUDA device as word planes: all of them at once, or shard after shard from pinned memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

#: Most rows that a kernel treats as one group. Planes are a multiple of it long: loads need no mask.
LARGEST_GROUP = 8192
_LEAST_SHARD = 64


@dataclass(frozen=True)
class Shard:
    """planes: (W, stride) int64 or int32 on the device; rows [first, first + count) of the codes are in it."""

    planes: torch.Tensor
    first: int
    count: int


class DeviceCodes:
    """(N, B) uint8 on the host, read as little-endian words of 8 bytes, or of 4 where 8 does not divide B.

    Codes of at most ``budget`` bytes are copied to the device once; others pass through two buffers on each side while
    the device computes, and are read anew for every batch of queries.
    """

    def __init__(self, codes: np.ndarray, device: torch.device, budget: int, shard_bytes: int) -> None:
        """shard_bytes: of each of the buffers."""
        self._codes, self._device = codes, device
        self.word = torch.int64 if codes.shape[1] % 8 == 0 else torch.int32
        self.words = -(-codes.shape[1] // self.word.itemsize)
        self._shard_rows = max(_LEAST_SHARD, shard_bytes // (self.words * self.word.itemsize))
        self._shard_rows = min(self._shard_rows, max(len(codes), 1))
        self.resident = len(codes) * self.words * self.word.itemsize <= budget
        self._kept = self._load_all() if self.resident else None

    def host_words(self, codes: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """(n, B) uint8 -> (n, W) int64 or int32, the last word padded with zeros."""
        width = self.words * self.word.itemsize
        if out is None:
            out = np.zeros((len(codes), width), np.uint8)
        out[: len(codes), : codes.shape[1]] = codes
        return out.view(np.int64 if self.word == torch.int64 else np.int32)

    def shards(self) -> Iterator[Shard]:
        """Every row once. A streamed shard is good until the next one is asked for."""
        if self._kept is not None:
            yield self._kept
        elif self._device.type == "cuda":
            yield from self._streamed()
        else:
            for first in range(0, len(self._codes), self._shard_rows):
                words = torch.from_numpy(self.host_words(self._codes[first : first + self._shard_rows]))
                planes = self._planes(len(words))
                planes[:, : len(words)] = words.t()
                yield Shard(planes, first, len(words))

    def _planes(self, rows: int) -> torch.Tensor:
        stride = -(-rows // LARGEST_GROUP) * LARGEST_GROUP
        return torch.zeros((self.words, stride), dtype=self.word, device=self._device)

    def _load_all(self) -> Shard:
        planes = self._planes(len(self._codes))
        for first in range(0, len(self._codes), self._shard_rows):
            words = torch.from_numpy(self.host_words(self._codes[first : first + self._shard_rows]))
            planes[:, first : first + len(words)] = words.to(self._device).t()
        return Shard(planes, 0, len(self._codes))

    def _streamed(self) -> Iterator[Shard]:
        """Copies run on a stream of their own; an event in each direction keeps a buffer from being overwritten."""
        shape = (self._shard_rows, self.words)
        pinned = [torch.zeros(shape, dtype=self.word, pin_memory=True) for _ in range(2)]
        rows = [torch.empty(shape, dtype=self.word, device=self._device) for _ in range(2)]
        planes = self._planes(self._shard_rows)
        copying, computing = torch.cuda.Stream(self._device), torch.cuda.current_stream(self._device)
        copied, used = ([torch.cuda.Event() for _ in range(2)] for _ in range(2))
        copying.wait_stream(computing)
        firsts = list(range(0, len(self._codes), self._shard_rows))

        def copy(number: int) -> None:
            slot, part = number % 2, self._codes[firsts[number] : firsts[number] + self._shard_rows]
            copied[slot].synchronize()  # the pinned buffer may still be on its way; returns at once if never recorded
            self.host_words(part, pinned[slot].numpy().view(np.uint8).reshape(shape[0], -1))
            with torch.cuda.stream(copying):
                copying.wait_event(used[slot])
                rows[slot][: len(part)].copy_(pinned[slot][: len(part)], non_blocking=True)
                copied[slot].record(copying)

        copy(0)
        for number, first in enumerate(firsts):
            slot, count = number % 2, min(self._shard_rows, len(self._codes) - first)
            computing.wait_event(copied[slot])
            planes[:, :count].copy_(rows[slot][:count].t())
            used[slot].record(computing)
            if number + 1 < len(firsts):
                copy(number + 1)
            yield Shard(planes, first, count)
