/* Vectors of 16 floats, in the C extensions that gcc and clang share: AVX-512, two of AVX2 or four of NEON. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef float v16 __attribute__((vector_size(64)));
typedef float u16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef int32_t iu16 __attribute__((vector_size(64), aligned(4), may_alias));

#define LANES 16
#define V 8
#define P (V * LANES)
#define MOST_PAIRS 24 /* of inputs of a layer */
#define INLINE static inline __attribute__((always_inline))

INLINE v16 load(const float *p) { return *(const u16 *)p; }
INLINE void store(float *p, v16 x) { *(u16 *)p = x; }
INLINE v16 splat(float x) { return x - (v16){0}; }
INLINE v16 choose(i16 mask, v16 yes, v16 no) { return (v16)(((i16)yes & mask) | ((i16)no & ~mask)); }
INLINE v16 vmax(v16 a, v16 b) { return choose(a > b, a, b); }
INLINE v16 vmin(v16 a, v16 b) { return choose(a < b, a, b); }
INLINE v16 vabs(v16 a) { return (v16)((i16)a & 0x7fffffff); }
INLINE v16 positive(v16 a) { return (v16)((i16)a & (a > 0)); }

INLINE float total(v16 x) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
}

/* 2^x to 2e-7, for |x| up to 126. */
INLINE v16 exp2v(v16 x) {
    x = vmin(vmax(x, splat(-126.0f)), splat(126.0f));
    i16 whole = (i16)(x + 12582912.0f) - 0x4b400000; /* 1.5 * 2^23: rounds */
    v16 f = x - __builtin_convertvector(whole, v16);
    v16 p = splat(1.5403530e-4f);
    p = p * f + 1.3333558e-3f;
    p = p * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    return (v16)((i16)p + (whole << 23));
}

/* log2 of positive normal numbers, to 1e-6. */
INLINE v16 log2v(v16 x) {
    i16 bits = (i16)x, exponent = ((bits - 0x3f3504f3) >> 23);
    v16 m = (v16)(bits - (exponent << 23)); /* sqrt(1/2) ... sqrt(2) */
    v16 s = (m - 1.0f) / (m + 1.0f), q = s * s;
    v16 p = splat(0.41219858f);
    p = p * q + 0.57707802f;
    p = p * q + 0.96179669f;
    p = p * q + 2.8853901f;
    return p * s + __builtin_convertvector(exponent, v16);
}

INLINE v16 tanhv(v16 x) {
    v16 e = exp2v(vabs(x) * -2.8853901f), t = (1.0f - e) / (1.0f + e);
    return (v16)((i16)t | ((i16)x & (int32_t)0x80000000));
}

/* N outputs of a dense layer over a tile: out[o] = bias[o] + sum over i of w[o * stride + i] x[i]. */
#define DENSE(N)                                                                                                      \
    INLINE void dense##N(int in, const float *w, int stride, const float *bias, const v16 (*x)[V], v16 (*out)[V]) {   \
        for (int half = 0; half < V; half += 4) {                                                                     \
            v16 acc[N][4];                                                                                            \
            for (int o = 0; o < N; o++)                                                                               \
                for (int k = 0; k < 4; k++) acc[o][k] = splat(bias ? bias[o] : 0.0f);                                 \
            for (int i = 0; i < in; i++) {                                                                            \
                _Pragma("GCC unroll 4") for (int o = 0; o < N; o++) {                                                 \
                    float weight = w[o * stride + i];                                                                 \
                    _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) acc[o][k] += weight * x[i][half + k];         \
                }                                                                                                     \
            }                                                                                                         \
            for (int o = 0; o < N; o++)                                                                               \
                for (int k = 0; k < 4; k++) out[o][half + k] = acc[o][k];                                             \
        }                                                                                                             \
    }
DENSE(4)
DENSE(3)
DENSE(2)
DENSE(1)

static void dense(int in, int outs, const float *w, const float *bias, const v16 (*x)[V], v16 (*out)[V]) {
    int o = 0;
    for (; o + 4 <= outs; o += 4) dense4(in, w + o * in, in, bias ? bias + o : NULL, x, out + o);
    const float *rest = bias ? bias + o : NULL;
    if (outs - o == 3) dense3(in, w + o * in, in, rest, x, out + o);
    if (outs - o == 2) dense2(in, w + o * in, in, rest, x, out + o);
    if (outs - o == 1) dense1(in, w + o * in, in, rest, x, out + o);
}

/* What `layer` computes with where the processor multiplies pairs of 16-bit floats (bfloat16): twice as
 * much at a time, to three digits. */
#ifdef __AVX512BF16__
#include <immintrin.h>
#define PAIRED 1

/* Lane p holds a[p] and b[p]. */
INLINE i16 pair_of(v16 a, v16 b) {
    __m512i order = (__m512i)(i16){0x100000, 0x110001, 0x120002, 0x130003, 0x140004, 0x150005, 0x160006, 0x170007,
                                   0x180008, 0x190009, 0x1a000a, 0x1b000b, 0x1c000c, 0x1d000d, 0x1e000e, 0x1f000f};
    return (i16)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a));
}

INLINE v16 dot(v16 sum, i16 x, int32_t weights) {
    return (v16)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)_mm512_set1_epi32(weights));
}

INLINE v16 rectify(v16 x) { return (v16)_mm512_max_ps((__m512)x, _mm512_setzero_ps()); }

INLINE v16 where_positive(v16 x, v16 y) {
    return (v16)_mm512_maskz_mov_ps(_mm512_cmp_ps_mask((__m512)x, _mm512_setzero_ps(), _CMP_GT_OQ), (__m512)y);
}

/* Pairs of rows: (*pairs)[i] of x[2 i] and x[2 i + 1]. */
INLINE void pair(int in, const v16 (*x)[V], i16 (*pairs)[V]) {
    for (int i = 0; i < in; i += 2)
        for (int t = 0; t < V; t++) pairs[i / 2][t] = pair_of(x[i][t], x[i + 1][t]);
}

INLINE void densely_paired(int outs, int in, const int32_t *w, const float *bias, const v16 (*add)[V], int rectified,
                           const i16 (*x)[V], v16 (*out)[V]) {
    for (int part = 0; part < V; part += 4) {
        v16 acc[4][4];
        for (int o = 0; o < outs; o++)
            for (int k = 0; k < 4; k++) {
                v16 start = splat(bias ? bias[o] : 0.0f);
                acc[o][k] = add ? start + add[o][part + k] : start;
            }
        for (int i = 0; i < in / 2; i++) {
            _Pragma("GCC unroll 4") for (int o = 0; o < outs; o++)
                _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) acc[o][k] =
                    dot(acc[o][k], x[i][part + k], w[o * (in / 2) + i]);
        }
        for (int o = 0; o < outs; o++)
            for (int k = 0; k < 4; k++) out[o][part + k] = rectified ? rectify(acc[o][k]) : acc[o][k];
    }
}
#else
#define PAIRED 0
#endif

/* A matrix (outs, in) as it is, and as pairs of 16-bit floats; in: even. */
typedef struct {
    const float *whole;
    int32_t pairs[PAIRED ? 512 : 1];
} Matrix;

static void halve(Matrix *m, int in, int outs, const float *w) {
    m->whole = w;
#if PAIRED
    for (int i = 0; i < in * outs; i += 2) {
        uint32_t low, high;
        memcpy(&low, w + i, 4), memcpy(&high, w + i + 1, 4);
        low += 0x7fff + (low >> 16 & 1), high += 0x7fff + (high >> 16 & 1);
        m->pairs[i / 2] = (high & 0xffff0000) | low >> 16;
    }
#endif
}

/* out = m x + bias + add, of which what is negative becomes 0 if `rectified`; of 16-bit floats if `quick` and the
 * processor has them. bias, add: may be NULL. */
INLINE void layer(int quick, int in, int outs, const Matrix *m, const float *bias, const v16 (*add)[V], int rectified,
                  const v16 (*x)[V], v16 (*out)[V]) {
#if PAIRED
    if (quick) {
        i16 pairs[MOST_PAIRS][V];
        pair(in, x, pairs);
        for (int o = 0; o < outs; o += 4) {
            const int32_t *w = m->pairs + o * (in / 2);
            const float *b = bias ? bias + o : NULL;
            const v16(*a)[V] = add ? add + o : NULL;
            if (outs - o >= 4) densely_paired(4, in, w, b, a, rectified, pairs, out + o);
            if (outs - o == 3) densely_paired(3, in, w, b, a, rectified, pairs, out + o);
            if (outs - o == 2) densely_paired(2, in, w, b, a, rectified, pairs, out + o);
            if (outs - o == 1) densely_paired(1, in, w, b, a, rectified, pairs, out + o);
        }
        return;
    }
#endif
    dense(in, outs, m->whole, bias, x, out);
    if (!add && !rectified) return;
    for (int o = 0; o < outs; o++)
        for (int t = 0; t < V; t++) {
            v16 sum = add ? out[o][t] + add[o][t] : out[o][t];
            out[o][t] = rectified ? positive(sum) : sum;
        }
}

/* N x 4 sums over a tile of g[o] x[i], lane by lane, added to sums[o * in + i]. */
#define OUTER(N)                                                                                                      \
    INLINE void outer##N(int in, int i, const v16 (*g)[V], const v16 (*x)[V], v16 *sums) {                            \
        v16 acc[N][4];                                                                                                \
        for (int o = 0; o < N; o++)                                                                                   \
            for (int k = 0; k < 4; k++) acc[o][k] = sums[o * in + i + k];                                             \
        for (int t = 0; t < V; t++) {                                                                                 \
            _Pragma("GCC unroll 4") for (int o = 0; o < N; o++)                                                       \
                _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) acc[o][k] += g[o][t] * x[i + k][t];               \
        }                                                                                                             \
        for (int o = 0; o < N; o++)                                                                                   \
            for (int k = 0; k < 4; k++) sums[o * in + i + k] = acc[o][k];                                             \
    }
OUTER(4)
OUTER(3)
OUTER(2)
OUTER(1)

/* in: a multiple of 4. */
static void outer(int in, int outs, const v16 (*g)[V], const v16 (*x)[V], v16 *sums, v16 *bias) {
    int o = 0;
    for (; o + 4 <= outs; o += 4)
        for (int i = 0; i < in; i += 4) outer4(in, i, g + o, x, sums + o * in);
    for (int i = 0; i < in; i += 4) {
        if (outs - o == 3) outer3(in, i, g + o, x, sums + o * in);
        if (outs - o == 2) outer2(in, i, g + o, x, sums + o * in);
        if (outs - o == 1) outer1(in, i, g + o, x, sums + o * in);
    }
    for (o = 0; o < outs; o++)
        for (int t = 0; t < V; t++) bias[o] += g[o][t];
}

static void transpose(int rows, int columns, const float *w, float *turned) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) turned[c * rows + r] = w[r * columns + c];
}

/* Lanes of a tile from `count` on become zero. */
static void mask(int outs, int count, v16 (*g)[V]) {
    if (count >= P) return;
    for (int o = 0; o < outs; o++) memset((float *)g[o] + count, 0, sizeof(float) * (P - count));
}
