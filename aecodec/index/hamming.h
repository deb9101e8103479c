/* A scan of packed codes: its state, what is done with a code that is near enough, rows as words. */
#ifndef AECODEC_HAMMING_H
#define AECODEC_HAMMING_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define BLOCK 512
#define LANES (BLOCK / 64)
#define TRIPLES 21
#define TABLE (TRIPLES * 16 + 2)
#define TILE 32
#define MAX_PLANES 10
#define ROW_BITS 44
#define AHEAD 8
#define TOO_DEAR 2
#define INLINE static inline __attribute__((always_inline))

typedef uint64_t vec __attribute__((vector_size(8 * LANES), aligned(8 * LANES)));
typedef uint64_t loose __attribute__((vector_size(8 * LANES), aligned(1), may_alias));

typedef struct { uint64_t query, key; } hit;

typedef struct {
    const uint8_t *codes;
    int64_t n, bytes, words, nq, k; /* k: 0 for a radius search */
    uint64_t *queries;              /* (nq, words), zero-padded */
    int64_t *limit;                 /* a code counts if its distance is at most this; -1: none can */
    uint64_t *heaps;                /* (nq, k) max-heaps of keys */
    int64_t *counts;                /* (nq,) in the heap, or within the radius */
    int keep;                       /* radius search: keep the hits, not only their counts */
    hit *hits;
    int64_t n_hits, room;
    uint16_t *offsets;              /* sliced kernel only, as all below: (nq, words, 22) entries of the tables */
    uint64_t *start;                /* (nq, MAX_PLANES) masks of ~limit, the accumulator's first value */
    vec *tables;                    /* (words, TABLE) */
    vec *sums;                      /* (TILE, MAX_PLANES + 1) accumulators of a tile of queries, and their carries */
    int64_t budget;                 /* tables only: candidates that may still be compared */
    int failed;
} scan;

/* ---- what survives ---- */

static void set_limit(scan *s, int64_t q, int64_t limit) {
    s->limit[q] = limit;
    if (!s->start || limit < 0) return;
    for (int p = 0; p < MAX_PLANES; p++) s->start[q * MAX_PLANES + p] = -(~(uint64_t)limit >> p & 1);
}

static void heap_down(uint64_t *heap, int64_t size, int64_t at, uint64_t key) {
    for (int64_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && heap[child + 1] > heap[child]) child++;
        if (heap[child] <= key) break;
        heap[at] = heap[child];
    }
    heap[at] = key;
}

static void take_nearest(scan *s, int64_t q, uint64_t key) {
    uint64_t *heap = s->heaps + q * s->k;
    if (s->counts[q] < s->k) {
        int64_t at = s->counts[q]++;
        for (int64_t up; at && heap[up = (at - 1) / 2] < key; at = up) heap[at] = heap[up];
        heap[at] = key;
        if (s->counts[q] < s->k) return;
    } else {
        if (key >= heap[0]) return;
        heap_down(heap, s->k, 0, key);
    }
    /* rows come in blocks of ascending order: a later block's equal distance loses */
    int64_t limit = (int64_t)(heap[0] >> ROW_BITS) - 1;
    if (limit != s->limit[q]) set_limit(s, q, limit);
}

static void take(scan *s, int64_t q, int64_t row, int64_t distance) {
    uint64_t key = (uint64_t)distance << ROW_BITS | (uint64_t)row;
    if (s->k) {
        take_nearest(s, q, key);
        return;
    }
    s->counts[q]++;
    if (!s->keep || s->failed) return;
    if (s->n_hits == s->room) {
        int64_t room = s->room ? 2 * s->room : 1024;
        hit *grown = realloc(s->hits, room * sizeof(hit));
        if (!grown) {
            s->failed = 1;
            return;
        }
        s->hits = grown;
        s->room = room;
    }
    s->hits[s->n_hits++] = (hit){(uint64_t)q, key};
}

/* ---- rows into words ---- */

INLINE void pack_words(const uint8_t *from, int64_t count, int64_t bytes, uint64_t mask, uint64_t *out) {
    for (int64_t c = 0; c < count; c++) {
        uint64_t word;
        memcpy(&word, from + c * bytes, 8);
        out[c] = word & mask; /* little-endian: the first byte is the lowest */
    }
}

/* Words of `count` rows from `row` on, word-major: out[w * stride + c]; rows after the last one are zero. */
static void pack(const scan *s, int64_t row, int64_t count, uint64_t *out, int64_t stride) {
    int64_t bytes = s->bytes, end = s->n * bytes, here = row + count <= s->n ? count : s->n - row;
    for (int64_t w = 0; w < s->words; w++) {
        int64_t tail = bytes - 8 * w < 8 ? bytes - 8 * w : 8;
        uint64_t mask = tail == 8 ? ~0ull : (1ull << 8 * tail) - 1, *to = out + w * stride;
        int64_t from = row * bytes + 8 * w, safe = (end - from - 8) / bytes + 1;
        if (end - from < 8) safe = 0;
        if (safe > here) safe = here;
        const uint8_t *first = s->codes + from;
        switch (bytes) { /* a stride the compiler knows is a stride it can turn into shuffles */
        case 16: pack_words(first, safe, 16, ~0ull, to); break;
        case 32: pack_words(first, safe, 32, ~0ull, to); break;
        case 64: pack_words(first, safe, 64, ~0ull, to); break;
        default: pack_words(first, safe, bytes, mask, to);
        }
        for (int64_t c = safe; c < here; c++) {
            to[c] = 0;
            memcpy(to + c, s->codes + from + c * bytes, tail);
        }
        for (int64_t c = here; c < count; c++) to[c] = 0;
    }
}

/* ---- distances ---- */

static int64_t exact_distance(const scan *s, int64_t row, const uint64_t *query) {
    const uint8_t *code = s->codes + row * s->bytes;
    int64_t distance = 0;
    for (int64_t w = 0; w < s->words; w++) {
        uint64_t word = 0;
        if (s->bytes - 8 * w >= 8) memcpy(&word, code + 8 * w, 8);
        else memcpy(&word, code + 8 * w, s->bytes - 8 * w);
        distance += __builtin_popcountll(word ^ query[w]);
    }
    return distance;
}

#endif
