/* The sliced kernel: 512 distances at once by full adders on bit planes.
 *
 * 512 codes are turned into bit planes (a 64 x 64 transpose), the sum and the carry of every three planes are tabulated
 * for the 8 patterns that three query bits can have, and each query then adds up one table entry per triple. The
 * accumulator starts at 2^P - 1 - limit, so that a carry out of it means "farther than the limit": only codes without
 * that carry are looked at one by one. Transposing and tabulating cost about as much as ten queries.
 */
#include "hamming.h"

#if defined(__AVX512F__)
#define SUM(a, b, c) ((vec)_mm512_ternarylogic_epi64((__m512i)(a), (__m512i)(b), (__m512i)(c), 0x96))
#define CARRY(a, b, c) ((vec)_mm512_ternarylogic_epi64((__m512i)(a), (__m512i)(b), (__m512i)(c), 0xE8))
#else
#define SUM(a, b, c) ((a) ^ (b) ^ (c))
#define CARRY(a, b, c) (((a) & (b)) | ((c) & ((a) ^ (b))))
#endif

/* 8 transposes of 64 x 64 bits side by side: bit b of lane l of x[i] goes to bit i of lane l of x[b]. */
static void transpose(vec *x) {
    for (int high = 1; high >= 0; high--)
        for (int group = 0; group < 8; group++) {
            int stride = high ? 8 : 1;
            vec *base = high ? x + group : x + 8 * group, r[8];
            for (int i = 0; i < 8; i++) r[i] = base[i * stride];
#pragma GCC unroll 3
            for (int step = 4; step; step >>= 1) {
                int shift = step * stride;
                uint64_t mask = ~0ull / ((1ull << shift) + 1);
#pragma GCC unroll 8
                for (int i = 0; i < 8; i++)
                    if (!(i & step)) {
                        vec swap = ((r[i] >> shift) ^ r[i + step]) & mask;
                        r[i] ^= swap << shift;
                        r[i + step] ^= swap;
                    }
            }
            for (int i = 0; i < 8; i++) base[i * stride] = r[i];
        }
}

/* Bit planes of 512 words -> for every three planes and pattern of query bits, sum and carry of their xors. */
static void tabulate(const vec *x, vec *table) {
    for (int t = 0; t < TRIPLES; t++)
        for (int pattern = 0; pattern < 8; pattern++) {
            vec a = x[3 * t] ^ -(uint64_t)(pattern & 1), b = x[3 * t + 1] ^ -(uint64_t)(pattern >> 1 & 1);
            vec c = x[3 * t + 2] ^ -(uint64_t)(pattern >> 2);
            table[t * 16 + pattern * 2] = SUM(a, b, c);
            table[t * 16 + pattern * 2 + 1] = CARRY(a, b, c);
        }
    table[TRIPLES * 16] = x[63];
    table[TRIPLES * 16 + 1] = ~x[63];
}

static void set_offsets(uint64_t word, uint16_t *offsets) {
    for (int t = 0; t < TRIPLES; t++) offsets[t] = (uint16_t)(t * 16 + (word >> 3 * t & 7) * 2);
    offsets[TRIPLES] = (uint16_t)(TRIPLES * 16 + (word >> 63));
}

/* Adds one word's 64 bits to the accumulators: planes of weight 1, 2, 4 ... in, the same out, and the carry. */
INLINE vec add_word(const vec *table, const uint16_t *offset, vec *sum, int planes) {
    vec carried[16];
#pragma GCC unroll 11
    for (int i = 0; i < 11; i++) {
        vec a = table[offset[2 * i]], b = table[offset[2 * i + 1]], c = table[offset[i] + 1];
        vec twos = CARRY(sum[0], a, b);
        sum[0] = SUM(sum[0], a, b);
        carried[i] = CARRY(sum[1], twos, c);
        sum[1] = SUM(sum[1], twos, c);
    }
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) {
        vec a = table[offset[11 + 2 * i] + 1], b = table[offset[12 + 2 * i] + 1];
        carried[11 + i] = CARRY(sum[1], a, b);
        sum[1] = SUM(sum[1], a, b);
    }
#pragma GCC unroll 4
    for (int plane = 2; plane < 6; plane++)
#pragma GCC unroll 8
        for (int i = 0; i < 32 >> plane; i++) {
            vec a = carried[2 * i], b = carried[2 * i + 1];
            carried[i] = CARRY(sum[plane], a, b);
            sum[plane] = SUM(sum[plane], a, b);
        }
    vec carry = carried[0];
#pragma GCC unroll 4
    for (int plane = 6; plane < planes; plane++) {
        vec a = sum[plane];
        sum[plane] = a ^ carry;
        carry = a & carry;
    }
    return carry;
}

INLINE int any(vec x) {
#if defined(__AVX512F__)
    return _mm512_test_epi64_mask((__m512i)x, (__m512i)x) != 0;
#else
    uint64_t all = 0;
    for (int l = 0; l < LANES; l++) all |= x[l];
    return all != 0;
#endif
}

static void __attribute__((noinline)) take_sliced(scan *s, int64_t q, int64_t row, vec near) {
    int64_t left = s->n - row;
    for (int l = 0; l < LANES; l++)
        for (uint64_t bits = near[l]; bits; bits &= bits - 1) {
            int64_t at = __builtin_ctzll(bits) * LANES + l;
            if (at < left) take(s, q, row + at, exact_distance(s, row + at, s->queries + q * s->words));
        }
}

INLINE void sliced_block(scan *s, int64_t row, uint64_t *packed, int planes) {
    int64_t words = s->words;
    pack(s, row, BLOCK, packed, BLOCK);
    for (int64_t w = 0; w < words; w++) {
        transpose((vec *)packed + w * 64);
        tabulate((vec *)packed + w * 64, s->tables + w * TABLE);
    }
    for (int64_t tile = 0; tile < s->nq; tile += TILE) {
        int64_t end = tile + TILE < s->nq ? tile + TILE : s->nq;
        for (int64_t w = 0; w < words; w++)
            for (int64_t q = tile; q < end; q++) {
                if (s->limit[q] < 0) continue;
                vec sum[MAX_PLANES], over = {0}, *kept = s->sums + (q - tile) * (planes + 1);
                for (int p = 0; p < planes; p++) sum[p] = w ? kept[p] : (vec){0} + s->start[q * planes + p];
                if (w) over = kept[planes];
                over |= add_word(s->tables + w * TABLE, s->offsets + (q * words + w) * (TRIPLES + 1), sum, planes);
                if (w + 1 < words) {
                    for (int p = 0; p < planes; p++) kept[p] = sum[p];
                    kept[planes] = over;
                } else if (__builtin_expect(any(~over), 0)) take_sliced(s, q, row, ~over);
            }
    }
}
