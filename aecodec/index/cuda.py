"""Exact Hamming search on a CUDA device: popcounts for a few queries, integer tensor cores for batches.

The rows are cut into groups of neighbours. One pass finds the least distance of every group to every query; the k
nearest rows of a query can only lie in the first k of its groups in the order of (least distance, group): each of k
groups that come before another holds a row that comes before every row of that other. A second, small pass looks at
the rows of those groups. Nothing is guessed, so that nothing overflows or has to be done again, whatever the codes
are: a sampled threshold with a list of survivors would need both where many codes are equal.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import numpy as np
import torch

from ..contracts import MissingDependencyError, UsageError
from .codes import check_codes, check_k, check_queries, check_radius
from .cuda_memory import LARGEST_GROUP, DeviceCodes, Shard
from .native import NativeScanner

#: Largest k on the device; beyond it the processor's kernels answer.
MOST = 2048
_FEW = 8
#: Widest codes, in bits, for which a batch goes to the tensor cores.
_WIDEST = 1024
_ROWS, _QUERIES = 128, 128
_GROUP = (128, LARGEST_GROUP)
_RANGE_GROUP = 1024
_KEY_BITS = 40


def _kernels() -> Any:
    """The kernels' module. Raises MissingDependencyError without Triton."""
    try:
        from . import cuda_kernels
    except ImportError as error:
        raise MissingDependencyError(f"index backend cuda needs Triton ({error})") from error
    return cuda_kernels


class CudaScanner:
    """A linear scan on one CUDA device; codes that do not fit in its memory pass through it shard by shard."""

    def __init__(
        self,
        codes: np.ndarray,
        *,
        device: str = "cuda",
        budget: int | None = None,
        shard_bytes: int = 256 << 20,
        workspace: int | None = None,
    ) -> None:
        """codes: (N, B) uint8, perhaps a memory map.

        budget: bytes of device memory for the codes, four fifths of what is free unless given; more are streamed.
        shard_bytes: of each streaming buffer. workspace: bytes of device memory for intermediate results, an eighth of
        what is free, between 256 MiB and 4 GiB, unless given.
        Raises UsageError without a CUDA device, MissingDependencyError without Triton.
        """
        self._codes = check_codes(codes)
        self._kernels, self._device = _kernels(), torch.device(device)
        # Triton's interpreter runs the kernels on the processor: for tests of their logic.
        self._compiled = os.environ.get("TRITON_INTERPRET") != "1"
        if self._compiled and (self._device.type != "cuda" or not torch.cuda.is_available()):
            raise UsageError(f"index backend cuda: device {device} was asked for, torch sees no such CUDA device")
        if self._compiled and self._device.index is None:
            self._device = torch.device("cuda", torch.cuda.current_device())
        free = torch.cuda.mem_get_info(self._device)[0] if self._compiled else 1 << 33
        budget = free * 4 // 5 if budget is None else budget
        self._workspace = min(max(free // 8, 256 << 20), 4 << 30) if workspace is None else workspace
        self._memory = DeviceCodes(self._codes, self._device, budget, shard_bytes)

    @property
    def resident(self) -> bool:
        """Whether the codes are in the device's memory, and not streamed."""
        return self._memory.resident

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `contracts.Scanner.search`."""
        queries, k = check_queries(queries, self._codes.shape[1]), min(check_k(k), len(self._codes))
        if k > MOST or not k or not len(queries):
            return NativeScanner(self._codes).search(queries, max(k, 1))
        with self._on_device():
            best: list[torch.Tensor] = []
            for shard in self._memory.shards():
                tile = self._tile(shard.count, k)
                parts = [self._nearest(shard, queries[i : i + tile], k) for i in range(0, len(queries), tile)]
                found = torch.cat(parts)
                best = [found if not best else self._least(torch.cat([best[0], found], dim=1), k)]
            keys = best[0].cpu().numpy()
        return keys & ((1 << _KEY_BITS) - 1), (keys >> _KEY_BITS).astype(np.int32)

    def range_search(self, queries: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `contracts.Scanner.range_search`."""
        queries, radius = check_queries(queries, self._codes.shape[1]), check_radius(radius, self._codes.shape[1])
        if not len(self._codes) or not len(queries):
            return NativeScanner(self._codes).range_search(queries, radius)
        tile = max(1, self._workspace // (8 * (len(self._codes) // _RANGE_GROUP + 1)))
        with self._on_device():
            parts = [
                self._within(shard, queries[i : i + tile], radius, i)
                for shard in self._memory.shards()
                for i in range(0, len(queries), tile)
            ]
            numbers, keys = (torch.cat([part[i] for part in parts]) for i in range(2))
            order = keys.argsort()
            order = order[numbers[order].argsort(stable=True)]
            counts = torch.bincount(numbers, minlength=len(queries)).cpu().numpy()
            found = keys[order].cpu().numpy()
        limits = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return limits, found & ((1 << _KEY_BITS) - 1), (found >> _KEY_BITS).astype(np.int32)

    def _on_device(self) -> contextlib.AbstractContextManager[Any]:
        return torch.cuda.device(self._device) if self._compiled else contextlib.nullcontext()

    def _least(self, keys: torch.Tensor, k: int) -> torch.Tensor:
        """(Q, any) int64 -> the k least, ascending."""
        return torch.topk(keys, min(k, keys.shape[1]), dim=1, largest=False, sorted=True).values

    def _tile(self, count: int, k: int) -> int:
        """Queries whose intermediate results fit in the workspace."""
        rows = group_rows(count, k)
        groups = -(-count // rows)
        tile = max(1, self._workspace // (16 * (groups + min(k, groups) * rows)))
        return tile - tile % _QUERIES if tile > _QUERIES else tile

    def _nearest(self, shard: Shard, queries: np.ndarray, k: int) -> torch.Tensor:
        """-> (Q, min(k, rows of the shard's chosen groups)) int64 keys, ascending."""
        rows = group_rows(shard.count, k)
        groups = -(-shard.count // rows)
        words = self._words(queries)
        small = (8 * self._codes.shape[1] + 1) * groups < 1 << 31
        least = torch.empty((len(queries), groups), dtype=torch.int32 if small else torch.int64, device=self._device)
        self._groups(shard, queries, words, rows, least, radius=None)
        chosen = (self._least(least, k) % groups).to(torch.int64).contiguous()
        keys = torch.empty((len(queries), chosen.shape[1] * rows), dtype=torch.int64, device=self._device)
        planes = shard.planes
        self._kernels.list_keys[(chosen.numel(),)](
            planes,
            planes.stride(0),
            shard.count,
            shard.first,
            words,
            chosen,
            chosen.shape[1],
            keys,
            group_rows=rows,
            words=self._memory.words,
            tile_rows=min(rows, 1024),
            wide=planes.dtype == torch.int64,
            native=self._compiled,
        )
        return self._least(keys, k)

    def _within(
        self, shard: Shard, queries: np.ndarray, radius: int, first_query: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """-> query numbers (M,) int64 and keys (M,) int64, by query, then by row."""
        rows, words = _RANGE_GROUP, self._words(queries)
        groups = -(-shard.count // rows)
        counts = torch.empty((len(queries), groups), dtype=torch.int32, device=self._device)
        self._groups(shard, queries, words, rows, counts, radius)
        numbers, chosen = (part.contiguous() for part in counts.nonzero(as_tuple=True))
        lengths = counts[numbers, chosen].to(torch.int64)
        places = lengths.cumsum(0) - lengths
        keys = torch.empty(int(lengths.sum()), dtype=torch.int64, device=self._device)
        if len(numbers):
            planes = shard.planes
            self._kernels.list_within[(len(numbers),)](
                planes,
                planes.stride(0),
                shard.count,
                shard.first,
                words,
                radius,
                numbers,
                chosen,
                places,
                keys,
                group_rows=rows,
                words=self._memory.words,
                tile_rows=rows,
                wide=planes.dtype == torch.int64,
                native=self._compiled,
            )
        return torch.repeat_interleave(numbers, lengths) + first_query, keys

    def _words(self, queries: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self._memory.host_words(queries)).to(self._device)

    def _groups(
        self, shard: Shard, queries: np.ndarray, words: torch.Tensor, rows: int, out: torch.Tensor, radius: int | None
    ) -> None:
        """Fills out (Q, groups): keys least * groups + group, or without a radius how many rows are within it."""
        same = {
            "group_rows": rows,
            "counting": radius is not None,
            "words": self._memory.words,
            "wide": shard.planes.dtype == torch.int64,
        }
        if len(queries) > _FEW and 8 * self._codes.shape[1] <= _WIDEST:
            self._product_groups(shard, queries, out, radius, same)
        else:
            for start in range(0, len(queries), _FEW):
                self._popcount_groups(shard, words[start : start + _FEW], rows, out[start:], radius, same)

    def _product_groups(
        self, shard: Shard, queries: np.ndarray, out: torch.Tensor, radius: int | None, same: dict[str, Any]
    ) -> None:
        """`_groups` by products of signs on tensor cores. same: what the kernels of both ways are told."""
        planes, count, groups = shard.planes, len(queries), out.shape[1]
        bits = np.unpackbits(queries, axis=1, bitorder="little")
        signs = np.zeros((count, -(-bits.shape[1] // 64) * 64), np.int8)
        signs[:, : bits.shape[1]] = 1 - 2 * bits.astype(np.int8)
        ones = torch.from_numpy(bits.sum(axis=1, dtype=np.int32)).to(self._device)
        tile = 64 if count <= 64 else _QUERIES
        tiles = -(-count // tile)
        self._kernels.product_groups[(groups * tiles,)](
            planes,
            planes.stride(0),
            shard.count,
            torch.from_numpy(signs).to(self._device),
            ones,
            count,
            radius or 0,
            out,
            groups,
            groups,
            tiles,
            tile_queries=tile,
            tile_rows=_ROWS,
            num_warps=4 if tile == 64 else 8,
            **same,
        )

    def _popcount_groups(
        self, shard: Shard, part: torch.Tensor, rows: int, out: torch.Tensor, radius: int | None, same: dict[str, Any]
    ) -> None:
        """`_groups` by popcounts. part: the words of at most _FEW queries, whose rows of out come first."""
        planes, groups = shard.planes, out.shape[1]
        if len(part) == 1:
            self._kernels.popcount_groups_one[(groups,)](
                planes,
                planes.stride(0),
                shard.count,
                part,
                radius or 0,
                out,
                groups,
                groups,
                tile_rows=min(rows, 2048),
                native=self._compiled,
                num_warps=4,
                **same,
            )
            return
        tile = 1 << (len(part) - 1).bit_length()
        self._kernels.popcount_groups[(groups,)](
            planes,
            planes.stride(0),
            shard.count,
            part,
            len(part),
            radius or 0,
            out,
            groups,
            groups,
            tile_queries=tile,
            tile_rows=min(rows, 2048 // tile),
            native=self._compiled,
            num_warps=4,
            **same,
        )


def group_rows(count: int, k: int) -> int:
    """Rows of a group, a power of two: about as many groups in all as rows to look at again."""
    wanted = 1 << max(0, round(np.log2(max(count / k, 1)) / 2))
    return int(min(max(wanted, _GROUP[0]), _GROUP[1]))
