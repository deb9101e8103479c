/* Exact Hamming scans of packed codes: the k nearest, all within a radius, or how many are.
 *
 * A thread takes chunks of rows from a shared counter and keeps its own results; the caller merges them once. The
 * popcount kernel serves a few queries, the sliced kernel batches.
 */
#include "hamming_popcount.h"
#include "hamming_sliced.h"
#include "hamming_tables.h"

#define SAMPLE 256
#define SAMPLED_WORDS 16

/* Bits of the largest limit, at least 3. */
static int planes_needed(const scan *s) {
    int64_t largest = 7;
    for (int64_t q = 0; q < s->nq; q++) largest = s->limit[q] > largest ? s->limit[q] : largest;
    return 64 - __builtin_clzll((uint64_t)largest);
}

static void scan_rows(scan *s, int64_t row, int64_t end, uint64_t *packed, int kind) {
    for (; row < end; row += BLOCK)
        if (s->start) switch (planes_needed(s)) {
            case 3: sliced_block(s, row, packed, 3); break;
            case 4: sliced_block(s, row, packed, 4); break;
            case 5: sliced_block(s, row, packed, 5); break;
            case 6: sliced_block(s, row, packed, 6); break;
            case 7: sliced_block(s, row, packed, 7); break;
            case 8: sliced_block(s, row, packed, 8); break;
            case 9: sliced_block(s, row, packed, 9); break;
            default: sliced_block(s, row, packed, MAX_PLANES);
            }
        else switch (kind) {
            case 1: popcount_block(s, row, packed, 1); break;
            case 2: popcount_block(s, row, packed, 2); break;
            case 4: popcount_block(s, row, packed, 4); break;
            case 8: popcount_block(s, row, packed, 8); break;
            case 32: popcount_block(s, row, packed, 32); break;
            case -1: popcount_block(s, row, packed, -1); break;
            case -2: popcount_block(s, row, packed, -2); break;
            default: popcount_block(s, row, packed, 0);
            }
}

static int kind_of(int64_t bytes) {
#if defined(__AVX512VPOPCNTDQ__)
    if (bytes == 8 || bytes == 16 || bytes == 32 || bytes == 64) return (int)(bytes / 8);
    if (bytes == 4) return 32;
#endif
    return bytes == 8 ? -2 : bytes % 8 ? 0 : -1;
}

static void *aligned(size_t size) { return aligned_alloc(64, (size + 63) / 64 * 64); }

static int prepare(scan *s, const uint8_t *queries, int64_t limit, int sliced) {
    int64_t words = s->words, nq = s->nq;
    s->queries = calloc(nq * words, 8);
    s->limit = malloc(nq * sizeof(int64_t));
    if (!s->queries || !s->limit) return -1;
    for (int64_t q = 0; q < nq; q++) memcpy(s->queries + q * words, queries + q * s->bytes, s->bytes);
    if (sliced && 64 * words < 1 << MAX_PLANES) {
        s->offsets = malloc(nq * words * (TRIPLES + 1) * sizeof(uint16_t));
        s->start = malloc(nq * MAX_PLANES * 8);
        s->tables = aligned(words * TABLE * sizeof(vec));
        s->sums = aligned(TILE * (MAX_PLANES + 1) * sizeof(vec));
        if (!s->offsets || !s->start || !s->tables || !s->sums) return -1;
        for (int64_t i = 0; i < nq * words; i++) set_offsets(s->queries[i], s->offsets + i * (TRIPLES + 1));
    }
    if (limit > 64 * words) limit = 64 * words;
    for (int64_t q = 0; q < nq; q++) set_limit(s, q, limit);
    return 0;
}

/* A first limit from the first rows of a thread's first chunk, at least k of which are within it: without one, every row
 * of the first block would go through the heap. */
static void first_limits(scan *s, int64_t row) {
    int64_t counts[64 * SAMPLED_WORDS + 1];
    if (!s->k || s->k > SAMPLE || s->words > SAMPLED_WORDS || row + SAMPLE > s->n) return;
    for (int64_t q = 0; q < s->nq; q++) {
        memset(counts, 0, sizeof counts);
        for (int64_t i = 0; i < SAMPLE; i++) counts[exact_distance(s, row + i, s->queries + q * s->words)]++;
        int64_t limit = 0;
        for (int64_t found = counts[0]; found < s->k; found += counts[++limit]) {}
        set_limit(s, q, limit);
    }
}

static int run(scan *s, const uint8_t *queries, int64_t limit, int sliced, int64_t *next, int64_t chunk) {
    uint64_t *packed = aligned(s->words * BLOCK * 8);
    s->failed = !packed || prepare(s, queries, limit, sliced);
    for (int first = 1; !s->failed; first = 0) {
        int64_t row = __atomic_fetch_add(next, chunk, __ATOMIC_RELAXED);
        if (row >= s->n) break;
        if (first) first_limits(s, row);
        scan_rows(s, row, row + chunk < s->n ? row + chunk : s->n, packed, kind_of(s->bytes));
    }
    free(packed), free(s->queries), free(s->limit), free(s->offsets), free(s->start), free(s->tables), free(s->sums);
    return s->failed ? -1 : 0;
}

/* One thread's share of a search. chunk: rows, a multiple of 512. keys: (nq, k), counts: (nq,) zeros, of which counts[q]
 * keys are filled, in no order. Returns -1 if memory ran out. */
int hamming_nearest(const uint8_t *codes, int64_t n, int64_t bytes, const uint8_t *queries, int64_t nq, int64_t k,
                    int sliced, int64_t *next, int64_t chunk, uint64_t *keys, int64_t *counts) {
    scan s = {.codes = codes, .n = n, .bytes = bytes, .words = (bytes + 7) / 8, .nq = nq, .k = k, .heaps = keys,
              .counts = counts};
    return run(&s, queries, 8 * bytes, sliced, next, chunk);
}

/* One thread's share of a radius search. hits: (*n_hits, 2) of query, key, to be freed by hamming_free; null: count. */
int hamming_within(const uint8_t *codes, int64_t n, int64_t bytes, const uint8_t *queries, int64_t nq, int64_t radius,
                   int sliced, int64_t *next, int64_t chunk, int64_t *counts, hit **hits, int64_t *n_hits) {
    scan s = {.codes = codes, .n = n, .bytes = bytes, .words = (bytes + 7) / 8, .nq = nq, .counts = counts,
              .keep = hits != 0};
    int result = run(&s, queries, radius, sliced, next, chunk);
    if (hits && !result) *hits = s.hits, *n_hits = s.n_hits;
    else free(s.hits);
    return result;
}

/* One thread's share of a radius search through tables; a chunk is of queries. Parts whose most is negative are not looked
 * up. Returns 2 if more candidates than the budget would have to be compared. Otherwise as hamming_within. */
int hamming_look_up(const uint8_t *codes, int64_t n, int64_t bytes, const uint8_t *queries, int64_t nq, int64_t radius,
                    const part *parts, int64_t n_parts, int64_t budget, int64_t *next, int64_t chunk, int64_t *counts, hit **hits,
                    int64_t *n_hits) {
    scan s = {.codes = codes, .n = n, .bytes = bytes, .words = (bytes + 7) / 8, .nq = nq, .counts = counts, .keep = 1,
              .budget = budget};
    uint64_t *differing = calloc(s.words, 8);
    s.failed = !differing || prepare(&s, queries, radius, 0);
    for (int64_t q; !s.failed && (q = __atomic_fetch_add(next, chunk, __ATOMIC_RELAXED)) < nq;)
        for (int64_t end = q + chunk < nq ? q + chunk : nq; q < end; q++)
            for (int64_t which = 0; which < n_parts; which++) look_up(&s, q, radius, parts, which, differing);
    free(differing), free(s.queries), free(s.limit);
    if (!s.failed) *hits = s.hits, *n_hits = s.n_hits;
    else free(s.hits);
    return s.failed == TOO_DEAR ? TOO_DEAR : -(s.failed != 0);
}

void hamming_free(void *hits) { free(hits); }

/* Reads memory and does nothing else: the floor of a scan. words: a multiple of 32. */
uint64_t hamming_read(const uint8_t *data, int64_t words, int64_t *next, int64_t chunk) {
    vec a = {0}, b = {0}, c = {0}, d = {0};
    for (int64_t from; (from = __atomic_fetch_add(next, chunk, __ATOMIC_RELAXED)) < words;) {
        const loose *p = (const loose *)(data + 8 * from), *end = p + (from + chunk < words ? chunk : words - from) / LANES;
        for (; p < end; p += 4) a ^= p[0], b ^= p[1], c ^= p[2], d ^= p[3];
    }
    a ^= b ^ c ^ d;
    uint64_t all = 0;
    for (int l = 0; l < LANES; l++) all ^= a[l];
    return all;
}
