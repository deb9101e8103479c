"""ONNX models written field by field, the hostile ones too, without the package onnx."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FLOAT, UINT8, FLOAT16 = 1, 2, 10
Field = tuple[int, "int | bytes | str"]


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(*fields: Field) -> bytes:
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(varint(number << 3) + varint(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            parts.append(varint(number << 3 | 2) + varint(len(data)) + data)
    return b"".join(parts)


def tensor(name: str, values: np.ndarray, *more: Field) -> bytes:
    dims = b"".join(varint(side) for side in values.shape)
    return message((1, dims), (2, FLOAT), (8, name), (9, values.astype("<f4").tobytes()), *more)


def value_info(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    dims = [(1, message((1, side) if isinstance(side, int) else (2, side))) for side in shape]
    return message((1, name), (2, message((1, message((1, kind), (2, message(*dims)))))))


def whole(name: str, value: int) -> Field:
    return 5, message((1, name), (3, value), (20, 2))


def wholes(name: str, values: Sequence[int]) -> Field:
    return 5, message((1, name), (8, b"".join(map(varint, values))), (20, 7))


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], *more: Field) -> bytes:
    return message(*((1, name) for name in inputs), *((2, name) for name in outputs), (4, kind), *more)


def model(
    nodes: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes], tensors: Sequence[bytes] = ()
) -> bytes:
    graph = message(
        *((1, one) for one in nodes),
        (2, "graph"),
        *((5, one) for one in tensors),
        *((11, one) for one in inputs),
        *((12, one) for one in outputs),
    )
    return message((1, 8), (7, graph), (8, message((1, ""), (2, 13))))


#: Side of the patches of `extractor`.
PATCH = 8


def weights(width: int) -> np.ndarray:
    """(width, 3, PATCH, PATCH) float32."""
    return np.random.default_rng(0).standard_normal((width, 3, PATCH, PATCH)).astype(np.float32) / 100


def extractor(
    shape: Sequence[int | str] = ("n", 3, 32, 32),
    kind: int = FLOAT,
    *,
    width: int = 96,
    layout: str = "NCHW",
    output: str = "vector",
    extra: Sequence[bytes] = (),
    scale: float = 1.0,
) -> bytes:
    """A convolution over patches and a ReLU -> "map" (N, width, H, W), "sequence" (N, places, width) or "vector"."""
    nodes, last = [], "x"
    if kind != FLOAT:
        nodes.append(node("Cast", [last], ["float"], whole("to", FLOAT)))
        last = "float"
    if layout == "NHWC":
        nodes.append(node("Transpose", [last], ["first"], wholes("perm", (0, 3, 1, 2))))
        last = "first"
    strides = wholes("strides", (PATCH, PATCH))
    nodes += [node("Conv", [last, "w"], ["conv"], strides), node("Relu", ["conv"], ["relu"])]
    ends = {
        "vector": [node("GlobalAveragePool", ["relu"], ["pool"]), node("Flatten", ["pool"], ["vector"])],
        "map": [
            node("Transpose", ["relu"], ["map"], wholes("perm", (0, 2, 3, 1) if layout == "NHWC" else (0, 1, 2, 3)))
        ],
        "sequence": [
            node("Flatten", ["relu"], ["flat"]),
            node("Transpose", ["relu"], ["last"], wholes("perm", (0, 2, 3, 1))),
            node("Reshape", ["last", "places"], ["sequence"]),
        ],
    }[output]
    places = message((1, varint(3)), (2, 7), (8, "places"), (9, np.array([0, -1, width], "<i8").tobytes()))
    rank = {"vector": 2, "map": 4, "sequence": 3}[output]
    return model(
        [*nodes, *ends, *extra],
        [value_info("x", kind, shape)],
        [value_info(output, FLOAT, [f"o{axis}" for axis in range(rank)])],
        [tensor("w", scale * weights(width)), places],
    )
