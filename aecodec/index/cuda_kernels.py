"""Triton kernels of Hamming search: least distances of groups of rows, hits of chosen groups; no floating point.

Codes lie on the device as word planes, (words, rows) of int64 (or int32 for widths that are no multiple of 64 bits),
so that every load is of neighbouring rows and as wide as the machine has; planes reach beyond the last row to the end
of the largest group, so that no load needs a mask. ``native`` chooses the machine's popcount
instruction; Triton's interpreter, which runs these kernels without a device, knows arithmetic only.
"""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

#: Greater than any distance; small enough that |q| may be added.
FAR = tl.constexpr(1 << 20)
#: A key is distance << 40 | row.
KEY_BITS = tl.constexpr(40)
#: Greater than any key.
NO_KEY = tl.constexpr((1 << 63) - 1)
#: Integers that change from call to call: their values make no kernels of their own.
_VARYING = ("count", "first", "n_queries", "n_chosen", "radius", "groups", "multiplier", "query_tiles")


@triton.jit
def _ones32(x):
    """Ones in each int32: sums of neighbouring fields (Knuth, TAOCP 7.1.3). Shifts are arithmetic, hence the masks."""
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    x = x + (x >> 8)
    return (x + (x >> 16)) & 63


@triton.jit
def _ones(x, wide: tl.constexpr, native: tl.constexpr):
    """Ones in each int64 (wide) or int32 -> int32."""
    if wide:
        if native:
            ones = tl.inline_asm_elementwise("popc.b64 $0, $1;", "=r,l", [x], dtype=tl.int32, is_pure=True, pack=1)
        else:
            ones = _ones32(x.to(tl.int32)) + _ones32((x >> 32).to(tl.int32))
    else:
        if native:
            ones = tl.inline_asm_elementwise("popc.b32 $0, $1;", "=r,r", [x], dtype=tl.int32, is_pure=True, pack=1)
        else:
            ones = _ones32(x)
    return ones


@triton.jit
def _distances(codes, stride, rows, inside, query, words: tl.constexpr, wide: tl.constexpr, native: tl.constexpr):
    """One query's words against rows -> int32, FAR for rows that are not inside."""
    total = tl.zeros(rows.shape, tl.int32)
    for w in tl.static_range(words):
        total += _ones(tl.load(codes + w * stride + rows) ^ tl.load(query + w), wide, native)
    return tl.where(inside, total, FAR)


@triton.jit
def _left(count, group, group_rows: tl.constexpr):
    """Rows of a group that exist, int32."""
    return tl.minimum(count - group * group_rows, group_rows).to(tl.int32)


@triton.jit(do_not_specialize=_VARYING)
def popcount_groups_one(
    codes,
    stride,
    count,
    query,
    radius,
    out,
    groups,
    multiplier,
    group_rows: tl.constexpr,
    counting: tl.constexpr,
    words: tl.constexpr,
    tile_rows: tl.constexpr,
    wide: tl.constexpr,
    native: tl.constexpr,
):
    """As popcount_groups, for one query: bound by memory. Programs: groups. out: (groups,)."""
    group = tl.program_id(0).to(tl.int64)
    left = _left(count, group, group_rows)
    lane = tl.arange(0, tile_rows)
    kept = tl.zeros((tile_rows,), tl.int32)
    if not counting:
        kept += FAR
    for start in range(0, group_rows, tile_rows):
        rows = group * group_rows + start + lane
        total = _distances(codes, stride, rows, start + lane < left, query, words, wide, native)
        if counting:
            kept += (total <= radius).to(tl.int32)
        else:
            kept = tl.minimum(kept, total)
    if counting:
        tl.store(out + group, tl.sum(kept, axis=0))
    else:
        key = tl.min(kept, axis=0).to(tl.int64) * multiplier + group
        tl.store(out + group, key.to(out.dtype.element_ty))


@triton.jit(do_not_specialize=_VARYING)
def popcount_groups(
    codes,
    stride,
    count,
    queries,
    n_queries,
    radius,
    out,
    groups,
    multiplier,
    group_rows: tl.constexpr,
    counting: tl.constexpr,
    words: tl.constexpr,
    tile_queries: tl.constexpr,
    tile_rows: tl.constexpr,
    wide: tl.constexpr,
    native: tl.constexpr,
):
    """For each of a few queries and each group of rows: the least distance (as a key least * multiplier + group), or,
    counting, how many rows are within the radius. Programs: groups. out: (n_queries, groups)."""
    group = tl.program_id(0).to(tl.int64)
    left = _left(count, group, group_rows)
    lane = tl.arange(0, tile_rows)
    asked = tl.arange(0, tile_queries)
    there = asked < n_queries
    kept = tl.zeros((tile_queries, tile_rows), tl.int32)
    if not counting:
        kept += FAR
    for start in range(0, group_rows, tile_rows):
        rows = group * group_rows + start + lane
        total = tl.zeros((tile_queries, tile_rows), tl.int32)
        for w in tl.static_range(words):
            x = tl.load(codes + w * stride + rows)
            q = tl.load(queries + asked * words + w, mask=there, other=0)
            total += _ones(x[None, :] ^ q[:, None], wide, native)
        total = tl.where((start + lane < left)[None, :], total, FAR)
        if counting:
            kept += (total <= radius).to(tl.int32)
        else:
            kept = tl.minimum(kept, total)
    place = out + asked.to(tl.int64) * groups + group
    if counting:
        tl.store(place, tl.sum(kept, axis=1), mask=there)
    else:
        key = tl.min(kept, axis=1).to(tl.int64) * multiplier + group
        tl.store(place, key.to(out.dtype.element_ty), mask=there)


@triton.jit
def _products(codes, stride, rows, signs, number, there, words: tl.constexpr, wide: tl.constexpr):
    """x . (1 - 2q) of a tile of queries and a tile of rows, x the bits of the codes: int32 (queries, rows).

    The bits are spread to int8 in registers, 64 at a time; the products are the tensor cores' work.
    """
    bit = tl.arange(0, 64)
    pieces: tl.constexpr = words if wide else (words + 1) // 2
    acc = tl.zeros((number.shape[0], rows.shape[0]), tl.int32)
    for piece in tl.static_range(pieces):
        if wide:
            x = tl.load(codes + piece * stride + rows)
            low = x.to(tl.int32)
            high = (x >> 32).to(tl.int32)
        else:
            low = tl.load(codes + (2 * piece) * stride + rows)
            if 2 * piece + 1 < words:  # noqa: SIM108 - one branch alone is compiled
                high = tl.load(codes + (2 * piece + 1) * stride + rows)
            else:
                high = tl.zeros_like(low)
        half = tl.where(bit[:, None] < 32, low[None, :], high[None, :])
        spread = ((half >> (bit & 31)[:, None]) & 1).to(tl.int8)
        place = signs + number[:, None] * (64 * pieces) + 64 * piece + bit[None, :]
        sign = tl.load(place, mask=there[:, None], other=0)
        acc = tl.dot(sign, spread, acc, out_dtype=tl.int32)
    return acc


@triton.jit
def _keep(kept, acc, limit, counting: tl.constexpr):
    """Takes a tile of products into account: counts those within each query's limit, or keeps the least."""
    if counting:
        kept += tl.sum((acc <= limit[:, None]).to(tl.int32), axis=1)
    else:
        kept = tl.minimum(kept, tl.min(acc, axis=1))
    return kept


@triton.jit(do_not_specialize=_VARYING)
def product_groups(
    codes,
    stride,
    count,
    signs,
    ones,
    n_queries,
    radius,
    out,
    groups,
    multiplier,
    query_tiles,
    group_rows: tl.constexpr,
    counting: tl.constexpr,
    words: tl.constexpr,
    tile_queries: tl.constexpr,
    tile_rows: tl.constexpr,
    wide: tl.constexpr,
):
    """As popcount_groups, for many queries, on integer tensor cores: distance = |q| + x . (1 - 2q).

    signs: (n_queries, 64 * pieces) int8, 1 - 2q; ones: (n_queries,) int32, |q|. Programs: groups * query_tiles, the
    tiles of one group next to each other, so that its codes come from the cache.
    """
    program = tl.program_id(0).to(tl.int64)
    group = program // query_tiles
    left = _left(count, group, group_rows)
    lane = tl.arange(0, tile_rows)
    number = (program % query_tiles) * tile_queries + tl.arange(0, tile_queries)
    there = number < n_queries
    size = tl.load(ones + number, mask=there, other=0)
    kept = tl.zeros((tile_queries,), tl.int32)
    if not counting:
        kept += FAR
    whole = left // tile_rows * tile_rows
    for start in range(0, whole, tile_rows):
        acc = _products(codes, stride, group * group_rows + start + lane, signs, number, there, words, wide)
        kept = _keep(kept, acc, radius - size, counting)
    if whole < left:
        acc = _products(codes, stride, group * group_rows + whole + lane, signs, number, there, words, wide)
        acc = tl.where((whole + lane < left)[None, :], acc, FAR)
        kept = _keep(kept, acc, radius - size, counting)
    place = out + number * groups + group
    if counting:
        tl.store(place, kept, mask=there)
    else:
        key = (kept + size).to(tl.int64) * multiplier + group
        tl.store(place, key.to(out.dtype.element_ty), mask=there)


@triton.jit(do_not_specialize=_VARYING)
def list_keys(
    codes,
    stride,
    count,
    first,
    queries,
    chosen,
    n_chosen,
    out,
    group_rows: tl.constexpr,
    words: tl.constexpr,
    tile_rows: tl.constexpr,
    wide: tl.constexpr,
    native: tl.constexpr,
):
    """Keys of every row of each query's chosen groups. Programs: queries * n_chosen.

    chosen: (queries, n_chosen) int64 groups; first: the shard's first row; out: (queries, n_chosen * group_rows) int64.
    """
    program = tl.program_id(0).to(tl.int64)
    query = queries + (program // n_chosen) * words
    group = tl.load(chosen + program)
    left = _left(count, group, group_rows)
    for start in range(0, group_rows, tile_rows):
        lane = start + tl.arange(0, tile_rows)
        rows = group * group_rows + lane
        inside = lane < left
        found = _distances(codes, stride, rows, inside, query, words, wide, native).to(tl.int64)
        keys = tl.where(inside, (found << KEY_BITS) | (first + rows), NO_KEY)
        tl.store(out + program * group_rows + lane, keys)


@triton.jit(do_not_specialize=_VARYING)
def list_within(
    codes,
    stride,
    count,
    first,
    queries,
    radius,
    numbers,
    chosen,
    places,
    out,
    group_rows: tl.constexpr,
    words: tl.constexpr,
    tile_rows: tl.constexpr,
    wide: tl.constexpr,
    native: tl.constexpr,
):
    """Keys of the rows within the radius, in pairs of a query and a group that has some. Programs: pairs.

    numbers, chosen: (pairs,) int64, the query and the group; places: (pairs,) int64, where its keys go in out.
    """
    program = tl.program_id(0).to(tl.int64)
    query = queries + tl.load(numbers + program) * words
    group = tl.load(chosen + program)
    place = tl.load(places + program)
    left = _left(count, group, group_rows)
    for start in range(0, group_rows, tile_rows):
        lane = start + tl.arange(0, tile_rows)
        rows = group * group_rows + lane
        found = _distances(codes, stride, rows, lane < left, query, words, wide, native)
        near = (found <= radius).to(tl.int32)
        keys = (found.to(tl.int64) << KEY_BITS) | (first + rows)
        tl.store(out + place + tl.cumsum(near, axis=0) - 1, keys, mask=near != 0)
        place += tl.sum(near, axis=0)
