"""Several hashers as one: the first bits of each, one after another.

Hashers that are good at different things, such as copies and kinds, make one code in which both count. A checkpoint of
the family FAMILY holds its members whole, and no training makes it: a member's settings, tensors and graphs are those
of its own checkpoint, each name behind the member's number and a stroke.

    shape          (C, S, S): the largest of the members' squares; S is a multiple of every member's side
    n_bits         the sum of bits
    prefixes       lengths of the first member below its bits, and where each member but the last ends
    bits           of each member: so many of its first are taken
    0/name, 0/family, 0/KEY        of the first member; 1/..., and so on
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ..contracts import CheckpointError, UsageError
from ..data import records
from ..zoo.stored import Stored
from .extractor import MAX_BITS, MAX_SIDE
from .protocol import HashNetwork

FAMILY = "joined-hash"
MAX_MEMBERS = 8
_FIELDS = {
    "shape": records.listing(records.integer(1, MAX_SIDE), 3),
    "n_bits": records.integer(8, MAX_MEMBERS * MAX_BITS),
    "prefixes": records.listing(records.integer(8, MAX_MEMBERS * MAX_BITS), MAX_BITS),
    "bits": records.listing(records.integer(8, MAX_BITS), MAX_MEMBERS),
}
_NAMES = ("name", "family")


def join(members: Sequence[Stored], bits: Sequence[int], name: str) -> Stored:
    """The checkpoint of several hashers. bits: of each, one of its lengths; its card tells where each comes from.

    Raises UsageError for hashers that cannot be joined, or lengths that they were not trained for.
    """
    if not 2 <= len(members) <= MAX_MEMBERS or len(bits) != len(members):
        raise UsageError(f"2 to {MAX_MEMBERS} hashers are joined, with as many numbers of bits")
    for member, taken in zip(members, bits, strict=True):
        lengths = [*member.config["prefixes"], member.config["n_bits"]]
        if member.family == FAMILY:
            raise UsageError(f"{member.name} is joined of several already: join those instead")
        if taken not in lengths:
            raise UsageError(f"{member.name} makes codes of {lengths} bits, not of {taken}")
    shapes = [member.config["shape"] for member in members]
    shape = max(shapes, key=lambda one: int(one[1]))
    if any(one[0] != shape[0] or shape[1] % one[1] for one in shapes):
        raise UsageError(f"squares of {shapes} have not the same channels, and sides that go into the largest")
    config: dict[str, Any] = {"shape": list(shape), "n_bits": sum(bits), "bits": list(bits)}
    config["prefixes"] = _prefixes(members[0].config["prefixes"], bits)
    tensors: dict[str, np.ndarray] = {}
    graphs: dict[str, bytes] = {}
    for number, member in enumerate(members):
        settings = {"name": member.name, "family": member.family, **member.config}
        config |= {f"{number}/{key}": value for key, value in settings.items()}
        tensors |= {f"{number}/{key}": array for key, array in member.tensors.items()}
        graphs |= {f"{number}/{key}": graph for key, graph in member.graphs.items()}
    card = {"members": [{"name": one.name, "fingerprint": one.fingerprint.hex(), **one.card} for one in members]}
    return Stored(name, FAMILY, config, tensors, {}, graphs, card)


def _prefixes(first: Sequence[int], bits: Sequence[int]) -> list[int]:
    return [length for length in first if length < bits[0]] + list(accumulate(bits))[:-1]


def members_of(kept: Stored, path: Path) -> list[Stored]:
    """What `join` was given. Raises CheckpointError for a configuration that is not to be trusted."""
    own = {key: value for key, value in kept.config.items() if "/" not in key}
    if wrong := records.misfit(own, _FIELDS):
        raise CheckpointError(f"{path}: its configuration is garbled ({wrong})")
    found = []
    for number in range(len(own["bits"])):
        settings = _of(number, kept.config)
        name, family = (settings.pop(key, None) for key in _NAMES)
        if not isinstance(name, str) or not isinstance(family, str) or family == FAMILY:
            raise CheckpointError(f"{path}: its member {number} has no name or family")
        found.append(Stored(name, family, settings, _of(number, kept.tensors), {}, _of(number, kept.graphs), {}))
    return found


def _of(number: int, named: Any) -> dict[str, Any]:
    start = f"{number}/"
    return {key.removeprefix(start): value for key, value in named.items() if key.startswith(start)}


class JoinedNetwork:
    """See `HashNetwork`. Members after the first are opened when their bits are asked for: short codes cost what the
    first one costs."""

    def __init__(self, kept: Stored, path: Path, open_member: Callable[[Stored], HashNetwork]) -> None:
        """Raises CheckpointError for a configuration that does not hold together."""
        self.name, self.fingerprint, self.config = kept.name, kept.fingerprint, kept.config
        self._members, self._path, self._open = members_of(kept, path), path, open_member
        self._networks: dict[int, HashNetwork] = {}
        bits, shape = self.config["bits"], self.config["shape"]
        if not bits or len(shape) != 3 or shape[0] not in (1, 3) or self.config["n_bits"] != sum(bits):
            raise CheckpointError(f"{path}: its shape and its bits do not hold together")
        prefixes = self.config["prefixes"]
        if any(length % 8 for length in (*prefixes, *bits)) or prefixes != sorted({*prefixes} - {sum(bits)}):
            raise CheckpointError(f"{path}: lengths of {prefixes} bits are none of codes in one another")
        # Every code needs the first, and what it lacks is to be told before any picture is read.
        self._network(0)

    def logits(self, x: np.ndarray, bits: int | None = None) -> np.ndarray:
        """See `HashNetwork.logits`."""
        parts: list[np.ndarray] = []
        for number, taken in enumerate(self.config["bits"]):
            if parts and bits is not None and sum(part.shape[1] for part in parts) >= bits:
                break
            network = self._network(number)
            part = network.logits(_shrunk(x, network.config["shape"][1]), taken)[:, :taken]
            if part.shape != (len(x), taken):
                raise CheckpointError(f"{self._path}: its member {number} gives {part.shape}, not ({len(x)}, {taken})")
            parts.append(part)
        return np.concatenate(parts, axis=1)

    def _network(self, number: int) -> HashNetwork:
        # Two threads may open one member each: they are alike, and one stays.
        if number not in self._networks:
            network = self._open(self._members[number])
            shape, whole = network.config["shape"], self.config["shape"]
            lengths = (*network.config["prefixes"], network.config["n_bits"])
            squares = shape[0] == whole[0] and shape[1] == shape[2] and not whole[1] % shape[1]
            if not squares or self.config["bits"][number] not in lengths:
                raise CheckpointError(f"{self._path}: its member {number} does not go with the others")
            self._networks[number] = network
        return self._networks[number]


def _shrunk(x: np.ndarray, side: int) -> np.ndarray:
    """(n, C, S, S) float32 -> (n, C, side, side), means of whole blocks: of a row's pixels first, then of the rows."""
    times = x.shape[2] // side
    if times == 1:
        return x
    # A sum of strided views takes a fifth of the time of NumPy's mean over two axes, and is the same to the bit.
    across = reduce(np.add, (x[..., step::times] for step in range(times)))
    return reduce(np.add, (across[:, :, step::times] for step in range(times))) / np.float32(times * times)
