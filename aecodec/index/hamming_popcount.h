/* The popcount kernel: which of 64 rows are within the limit of one query. Bound by memory for a query or three. */
#include "hamming.h"

INLINE uint64_t near_packed(const uint64_t *packed, const uint64_t *query, int64_t words, uint64_t limit) {
    uint64_t distance[64] = {0}, near = 0;
    for (int64_t w = 0; w < words; w++)
        for (int c = 0; c < 64; c++) distance[c] += (uint64_t)__builtin_popcountll(packed[w * 64 + c] ^ query[w]);
    for (int c = 0; c < 64; c++) near |= (uint64_t)(distance[c] <= limit) << c;
    return near;
}

INLINE uint64_t near_words(const uint8_t *codes, const uint64_t *query, int64_t words, uint64_t limit) {
    uint64_t near = 0;
    for (int c = 0; c < 64; c++) {
        uint64_t word, distance = 0;
        for (int64_t w = 0; w < words; w++) {
            memcpy(&word, codes + (c * words + w) * 8, 8);
            distance += (uint64_t)__builtin_popcountll(word ^ query[w]);
        }
        near |= (uint64_t)(distance <= limit) << c;
    }
    return near;
}

#if defined(__AVX512VPOPCNTDQ__)
#define LOAD(i) _mm512_popcnt_epi64(_mm512_xor_si512(_mm512_loadu_si512(codes + 64 * (i)), q))
#define PAIRS(a, b) _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
#define QUARTERS(a, b) _mm512_add_epi64(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xDD))

/* Distances of 8 rows; lane l holds row order8[words][l]. */
INLINE __m512i distances8(const uint8_t *codes, __m512i q, int words) {
    if (words == 1) return LOAD(0);
    if (words == 2) return PAIRS(LOAD(0), LOAD(1));
    __m512i a = PAIRS(LOAD(0), LOAD(1)), b = PAIRS(LOAD(2), LOAD(3));
    if (words == 4) return QUARTERS(a, b);
    __m512i c = PAIRS(LOAD(4), LOAD(5)), d = PAIRS(LOAD(6), LOAD(7));
    return QUARTERS(QUARTERS(a, b), QUARTERS(c, d));
}

INLINE uint64_t near_wide(const uint8_t *codes, const uint64_t *query, int words, uint64_t limit) {
    __m512i top = _mm512_set1_epi64((long long)limit), q;
    uint64_t near = 0, repeated[8];
    for (int i = 0; i < 8; i++) repeated[i] = query[i % words];
    q = _mm512_loadu_si512(repeated);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        near |= (uint64_t)_mm512_cmple_epu64_mask(distances8(codes + i * 64 * words, q, words), top) << 8 * i;
    return near;
}

INLINE uint64_t near_32_bits(const uint8_t *codes, uint32_t query, uint64_t limit) {
    __m512i top = _mm512_set1_epi32((int)limit), q = _mm512_set1_epi32((int)query);
    uint64_t near = 0;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i d = _mm512_popcnt_epi32(_mm512_xor_si512(_mm512_loadu_si512(codes + 64 * i), q));
        near |= (uint64_t)_mm512_cmple_epu32_mask(d, top) << 16 * i;
    }
    return near;
}

static const uint8_t order8[9][8] = {
    [1] = {0, 1, 2, 3, 4, 5, 6, 7}, [2] = {0, 4, 1, 5, 2, 6, 3, 7},
    [4] = {0, 2, 1, 3, 4, 6, 5, 7}, [8] = {0, 1, 2, 3, 4, 5, 6, 7},
};
#endif

static void take_near(scan *s, int64_t q, int64_t row, uint64_t near, const uint8_t *order) {
    for (; near; near &= near - 1) {
        int64_t at = __builtin_ctzll(near);
        if (order) at = (at & ~7) + order[at & 7];
        if (row + at < s->n) take(s, q, row + at, exact_distance(s, row + at, s->queries + q * s->words));
    }
}

/* All queries against the rows [row, row + BLOCK). kind: words of a code that a wide kernel takes, 32 for 32-bit
 * codes, -1 for whole words one by one, 0 for any width. */
INLINE void popcount_block(scan *s, int64_t row, uint64_t *packed, int kind) {
    int64_t left = s->n - row < BLOCK ? s->n - row : BLOCK, words = s->words;
    const uint8_t *codes = s->codes + row * s->bytes;
    for (int64_t c = 0; c < left; c += 64) {
        int whole = kind && c + 64 <= left;
        if (!whole) pack(s, row + c, 64, packed + c * words, 64);
    }
    for (int64_t q = 0; q < s->nq; q++) {
        const uint64_t *query = s->queries + q * words;
        for (int64_t c = 0; c < left && s->limit[q] >= 0; c += 64) {
            uint64_t near, limit = (uint64_t)s->limit[q];
            const uint8_t *order = 0;
            if (!kind || c + 64 > left) near = near_packed(packed + c * words, query, words, limit);
#if defined(__AVX512VPOPCNTDQ__)
            else if (kind == 32) near = near_32_bits(codes + 4 * c, (uint32_t)*query, limit);
            else if (kind > 0) near = near_wide(codes + c * 8 * kind, query, kind, limit), order = order8[kind];
#endif
            else near = near_words(codes + c * 8 * words, query, kind == -2 ? 1 : words, limit);
            if (__builtin_expect(near != 0, 0)) take_near(s, q, row + c, near, order);
        }
    }
}
