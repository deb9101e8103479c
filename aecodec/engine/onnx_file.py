"""An ONNX file of somebody else looked through before anything runs it: its weights inside, its operations known.

Protocol buffers read by hand, by the field numbers of onnx.proto3, since the package onnx is no dependency.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

#: Bytes of the largest model, nodes and tensors of the most that are looked at, and graphs in one another.
MAX_BYTES, _MOST_PARTS, _DEEPEST = 1 << 30, 1_000_000, 16
#: The standard's own operations, and those that ONNX Runtime has beside them.
_DOMAINS = {b"", b"ai.onnx", b"com.microsoft"}
#: Operations that need not end, or give something else each time.
_REFUSED = {b"Loop", b"Scan", b"RandomNormal", b"RandomNormalLike", b"RandomUniform", b"RandomUniformLike"}
_REFUSED |= {b"Multinomial", b"Bernoulli"}


@dataclass(frozen=True)
class _Kind:
    """A message: which of its fields are messages that are looked into."""

    inside: dict[int, str] = field(default_factory=dict)


_KINDS = {
    "model": _Kind({7: "graph", 25: "function"}),
    "graph": _Kind({1: "node", 5: "tensor", 15: "sparse"}),
    "function": _Kind({7: "node", 11: "attribute"}),
    "node": _Kind({5: "attribute"}),
    "attribute": _Kind({5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"}),
    "sparse": _Kind({1: "tensor", 2: "tensor"}),
    "tensor": _Kind(),
}
_OP, _DOMAIN, _FUNCTION_DOMAIN, _ELSEWHERE, _LOCATION = 4, 7, 10, 13, 14


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("a number does not end")
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, integer or bytes) of the fields of a message. Raises ValueError where it is none."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == 2:
            length, place = _varint(data, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field of kind {wire}")
        if length > len(data) - place:
            raise ValueError("it ends too early")
        yield number, data[place : place + length]
        place += length


def fault_of(model: bytes) -> str | None:
    """What speaks against running a model, in words, or None. Raises nothing.

    Weights in other files, operations of others than the standard and ONNX Runtime, loops, random numbers, and what is
    no model or larger than MAX_BYTES.
    """
    if len(model) > MAX_BYTES:
        return f"{len(model)} bytes; at most {MAX_BYTES} are read"
    try:
        return _fault(memoryview(model))
    except ValueError as error:
        return f"no ONNX model ({error})"


def _fault(model: memoryview) -> str | None:
    own = {_function_domain(value) for number, value in _fields(model) if number == 25 and not isinstance(value, int)}
    waiting: list[tuple[str, memoryview, int]] = [("model", model, 0)]
    parts = graphs = 0
    while waiting:
        kind, data, depth = waiting.pop()
        parts += 1
        graphs += kind == "graph"
        if parts > _MOST_PARTS or depth > _DEEPEST:
            return "more parts than any feature extractor has"
        for number, value in _fields(data):
            inside = _KINDS[kind].inside.get(number)
            if inside and not isinstance(value, int):
                waiting.append((inside, value, depth + (inside == "graph")))
            elif kind == "tensor" and (number == _ELSEWHERE or (number == _LOCATION and value)):
                return "its weights are in other files; only models of one file are read"
            elif kind == "node" and number == _OP and bytes(_text(value)) in _REFUSED:
                return f"the operation {bytes(_text(value)).decode()} is not run"
            elif kind == "node" and number == _DOMAIN and bytes(_text(value)) not in _DOMAINS | own:
                return f"operations of {bytes(_text(value))[:60].decode(errors='replace')!r} are not known"
    return None if graphs else "no ONNX model (it has no graph)"


def _function_domain(function: memoryview) -> bytes:
    return b"".join(bytes(_text(value)) for number, value in _fields(function) if number == _FUNCTION_DOMAIN)


def _text(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a name is expected")
    return value
