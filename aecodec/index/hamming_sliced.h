/* The sliced kernel: 512 distances at once by full adders on bit planes.
 *
 * 512 codes are turned into bit planes (a 64 x 64 transpose), the sum and the carry of every three planes are tabulated
 * for the 8 patterns that three query bits can have, and each query then adds up one table entry per triple. The
 * accumulator of P planes, as many as the largest limit has bits, starts at 2^P - 1 - limit, so that a carry out of it
 * means "farther than the limit": only codes without any are looked at one by one. Transposing and tabulating cost about as much as ten queries.
 */
#include "hamming.h"

#if defined(__AVX512F__)
#define SUM(a, b, c) ((vec)_mm512_ternarylogic_epi64((__m512i)(a), (__m512i)(b), (__m512i)(c), 0x96))
#define CARRY(a, b, c) ((vec)_mm512_ternarylogic_epi64((__m512i)(a), (__m512i)(b), (__m512i)(c), 0xE8))
#else
#define SUM(a, b, c) ((a) ^ (b) ^ (c))
#define CARRY(a, b, c) (((a) & (b)) | ((c) & ((a) ^ (b))))
#endif

/* One step of a transpose: the high halves of a's fields of 2 x shift bits change places with the low halves of b's. */
INLINE void exchange(vec *a, vec *b, int shift) {
    uint64_t low = ~0ull / ((1ull << shift) + 1);
#if defined(__AVX512BW__)
    __m512i x = (__m512i)*a, y = (__m512i)*b;
    if (shift >= 8) { /* whole bytes: a masked shuffle each */
        static const uint8_t swaps[3][16] = {
            {1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14},
            {2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13},
            {4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11},
        };
        const __m128i *order = (const __m128i *)swaps[shift == 8 ? 0 : shift == 16 ? 1 : 2];
        __m512i swap = _mm512_broadcast_i32x4(_mm_loadu_si128(order));
        __mmask64 high = ~0ull / ((1ull << shift / 8) + 1) << shift / 8;
        *a = (vec)_mm512_mask_shuffle_epi8(x, high, y, swap);
        *b = (vec)_mm512_mask_shuffle_epi8(y, ~high, x, swap);
    } else { /* 0xCA: where the mask is set the second operand, else the third */
        __m512i mask = _mm512_set1_epi64((long long)low);
        *a = (vec)_mm512_ternarylogic_epi64(mask, x, _mm512_slli_epi64(y, (unsigned)shift), 0xCA);
        *b = (vec)_mm512_ternarylogic_epi64(mask, _mm512_srli_epi64(x, (unsigned)shift), y, 0xCA);
    }
#else
    vec swap = ((*a >> shift) ^ *b) & low;
    *a ^= swap << shift;
    *b ^= swap;
#endif
}

/* 8 transposes of 64 x 64 bits side by side: bit b of lane l of from[i] goes to bit i of lane l of x[b]. */
static void transpose(const loose *from, vec *x) {
    for (int high = 1; high >= 0; high--)
        for (int group = 0; group < 8; group++) {
            int stride = high ? 8 : 1, first = high ? group : 8 * group;
            vec r[8];
            for (int i = 0; i < 8; i++) r[i] = high ? (vec)from[first + i * stride] : x[first + i * stride];
            if (high) {
                for (int i = 0; i < 4; i++) exchange(r + i, r + i + 4, 32);
                for (int i = 0; i < 8; i++) if (!(i & 2)) exchange(r + i, r + i + 2, 16);
                for (int i = 0; i < 8; i += 2) exchange(r + i, r + i + 1, 8);
            } else {
                for (int i = 0; i < 4; i++) exchange(r + i, r + i + 4, 4);
                for (int i = 0; i < 8; i++) if (!(i & 2)) exchange(r + i, r + i + 2, 2);
                for (int i = 0; i < 8; i += 2) exchange(r + i, r + i + 1, 1);
            }
            for (int i = 0; i < 8; i++) x[first + i * stride] = r[i];
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

/* Adds one word's 64 bits to the accumulators: planes of weight 1, 2, 4 ... in, the same out, and whether there was any
 * carry out of the last plane. */
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
    for (int plane = 2; plane < 6 && plane < planes; plane++)
#pragma GCC unroll 8
        for (int i = 0; i < 32 >> plane; i++) {
            vec a = carried[2 * i], b = carried[2 * i + 1];
            carried[i] = CARRY(sum[plane], a, b);
            sum[plane] = SUM(sum[plane], a, b);
        }
    vec carry = carried[0];
#pragma GCC unroll 8
    for (int i = 1; i < 64 >> planes; i++) carry |= carried[i];
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
    int direct = s->bytes == 8 && row + BLOCK <= s->n;
    if (!direct) pack(s, row, BLOCK, packed, BLOCK);
    for (int64_t w = 0; w < words; w++) {
        const void *from = direct ? (const void *)(s->codes + row * 8) : (const void *)(packed + w * BLOCK);
        transpose(from, (vec *)packed + w * 64);
        tabulate((vec *)packed + w * 64, s->tables + w * TABLE);
    }
    const uint8_t *ahead = s->codes + (row + BLOCK) * s->bytes;
    int64_t lines = row + 2 * BLOCK <= s->n ? BLOCK * s->bytes / 64 : 0, tiles = (s->nq + TILE - 1) / TILE;
    int64_t share = (lines + tiles - 1) / tiles; /* of the next block, fetched while this tile is computed */
    for (int64_t tile = 0; tile < s->nq; tile += TILE) {
        int64_t end = tile + TILE < s->nq ? tile + TILE : s->nq;
        for (int64_t i = 0; i < share; i++, ahead += 64) __builtin_prefetch(ahead, 0, 2);
        for (int64_t w = 0; w < words; w++)
            for (int64_t q = tile; q < end; q++) {
                if (s->limit[q] < 0) continue;
                vec sum[MAX_PLANES], over = {0}, *kept = s->sums + (q - tile) * (planes + 1);
                for (int p = 0; p < planes; p++) sum[p] = w ? kept[p] : (vec){0} + s->start[q * MAX_PLANES + p];
                if (w) over = kept[planes];
                over |= add_word(s->tables + w * TABLE, s->offsets + (q * words + w) * (TRIPLES + 1), sum, planes);
                if (w + 1 < words) {
                    for (int p = 0; p < planes; p++) kept[p] = sum[p];
                    kept[planes] = over;
                } else if (__builtin_expect(any(~over), 0)) take_sliced(s, q, row, ~over);
            }
    }
}
