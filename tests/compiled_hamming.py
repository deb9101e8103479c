"""Compiles the Hamming kernels for a CUDA device without having one; a script for test_cuda_index.py."""

from __future__ import annotations

from collections.abc import Iterator

from triton import compile as compile_kernel
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from aecodec.index import cuda_kernels

_SCAN = {
    "codes": "*i64",
    "stride": "i64",
    "count": "i64",
    "radius": "i32",
    "out": "*i32",
    "groups": "i32",
    "multiplier": "i32",
}
_WORDS = {"words": 1, "wide": True}
_GROUPS = {"group_rows": 4096, "counting": False, **_WORDS}
_LISTS = {
    "codes": "*i64",
    "stride": "i64",
    "count": "i64",
    "first": "i64",
    "queries": "*i64",
    "chosen": "*i64",
    "out": "*i64",
}
#: Name -> kernel, types of its arguments, its constants, warps.
KERNELS: dict[str, tuple] = {
    "one": ("popcount_groups_one", {**_SCAN, "query": "*i64"}, {**_GROUPS, "tile_rows": 2048, "native": True}, 4),
    "few": (
        "popcount_groups",
        {**_SCAN, "queries": "*i64", "n_queries": "i32"},
        {**_GROUPS, "tile_queries": 8, "tile_rows": 256, "native": True},
        4,
    ),
    "narrow": (
        "popcount_groups_one",
        {**_SCAN, "codes": "*i32", "query": "*i32"},
        {**_GROUPS, "tile_rows": 2048, "native": True, "wide": False},
        4,
    ),
    "counting": (
        "product_groups",
        {**_SCAN, "signs": "*i8", "ones": "*i32", "n_queries": "i32", "query_tiles": "i32"},
        {**_GROUPS, "counting": True, "tile_queries": 64, "tile_rows": 128},
        4,
    ),
    "products": (
        "product_groups",
        {**_SCAN, "signs": "*i8", "ones": "*i32", "n_queries": "i32", "query_tiles": "i32"},
        {**_GROUPS, "tile_queries": 128, "tile_rows": 128},
        8,
    ),
    "products, odd words": (
        "product_groups",
        {**_SCAN, "codes": "*i32", "signs": "*i8", "ones": "*i32", "n_queries": "i32", "query_tiles": "i32"},
        {**_GROUPS, "words": 3, "wide": False, "tile_queries": 128, "tile_rows": 128},
        8,
    ),
    "keys": (
        "list_keys",
        {**_LISTS, "n_chosen": "i32"},
        {**_WORDS, "group_rows": 4096, "tile_rows": 1024, "native": True},
        4,
    ),
    "within": (
        "list_within",
        {**_LISTS, "radius": "i32", "numbers": "*i64", "places": "*i64"},
        {**_WORDS, "group_rows": 1024, "tile_rows": 1024, "native": True},
        4,
    ),
}
#: Instructions that the assembly must hold: wide loads, the popcount, the integer tensor cores.
EXPECTED = {
    "one": ["popc.b64", "ld.global.v2.b64"],
    "few": ["popc.b64"],
    "narrow": ["popc.b32", "ld.global.v4.b32"],
    "counting": ["s32.s8.s8"],
    "products": ["s32.s8.s8"],
    "products, odd words": ["s32.s8.s8"],
    "keys": ["popc.b64", "ld.global.v2.b64"],
    "within": ["popc.b64", "ld.global.v2.b64"],
}


def compile_all(capability: int) -> Iterator[tuple[str, str]]:
    """Name and assembly of every kernel, compiled down to machine code."""
    for name, (kernel, types, constants, warps) in KERNELS.items():
        function = getattr(cuda_kernels, kernel)
        order = function.arg_names
        aligned = [argument for argument, kind in types.items() if kind.startswith("*") or argument == "stride"]
        source = ASTSource(
            fn=function,
            signature={argument: types.get(argument, "constexpr") for argument in order},
            constexprs={(order.index(argument),): value for argument, value in constants.items()},
            attrs={(order.index(argument),): [["tt.divisibility", 16]] for argument in aligned},
        )
        built = compile_kernel(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})
        if not built.asm["cubin"]:
            raise ValueError(f"{name}: no machine code")
        yield name, built.asm["ptx"]
