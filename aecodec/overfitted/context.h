/* What codes the latents: from decoded neighbours, and from the coarser grids, the mean and the scale of a Laplace
 * distribution. Here as floats, with gradients; decoding.h has the integers. */
#include "synthesis.h"

/* Rows and columns of the neighbours; each is decoded before in an order of waves (decoding.h). */
static const int ABOVE[SPATIAL] = {0, 0, 0, -1, -1, -1, -1, -1, -2, -2, -2, -2, -2, -3};
static const int ASIDE[SPATIAL] = {-1, -2, -3, -2, -1, 0, 1, 2, -2, -1, 0, 1, 2, 0};
/* Of the next coarser grid, around the parent; the last context is its parent's parent. */
#define PARENTS 5
static const int PARENT_ABOVE[PARENTS] = {0, -1, 1, 0, 0};
static const int PARENT_ASIDE[PARENTS] = {0, 0, 0, -1, 1};
/* Base-2 logarithms of the smallest and the largest scale. */
#define LOWEST -4.625f
#define HIGHEST 5.25f
/* What a symbol may cost at most, in bits: 2^-20 of probability are every symbol's. */
#define FLOOR 9.5367e-7f
#define LOG2_E 1.44269504f

typedef struct {
    v16 w1[CONTEXT * CONTEXT], w2[CONTEXT * CONTEXT], w3[2 * CONTEXT];
    v16 b1[CONTEXT], b2[CONTEXT], b3[2];
} ContextSums;

/* The matrices of the network, and transposed. */
typedef struct {
    Matrix w1, w2, w3, t1, t2, t3;
    float turned1[CONTEXT * CONTEXT], turned2[CONTEXT * CONTEXT], turned3[2 * CONTEXT];
} ContextMatrices;

static void matrices_of(const Weights *w, ContextMatrices *m) {
    transpose(CONTEXT, CONTEXT, w->w1, m->turned1);
    transpose(CONTEXT, CONTEXT, w->w2, m->turned2);
    transpose(2, CONTEXT, w->w3, m->turned3);
    halve(&m->w1, CONTEXT, CONTEXT, w->w1);
    halve(&m->w2, CONTEXT, CONTEXT, w->w2);
    halve(&m->w3, CONTEXT, 2, w->w3);
    halve(&m->t1, CONTEXT, CONTEXT, m->turned1);
    halve(&m->t2, CONTEXT, CONTEXT, m->turned2);
    halve(&m->t3, 2, CONTEXT, m->turned3);
}

/* The contexts of a tile of row y of grid k that begins at column x. */
static void gather(const Fit *fit, int k, int y, int x, v16 (*c)[V]) {
    const Level *level = &fit->levels[k];
    const float *here = plane(level, level->planes, 0) + (size_t)y * level->stride + x;
    for (int i = 0; i < SPATIAL; i++)
        for (int t = 0; t < V; t++) c[i][t] = load(here + ABOVE[i] * level->stride + ASIDE[i] + LANES * t);
    for (int up = 1; up <= 2; up++) {
        int first = up == 1 ? SPATIAL : SPATIAL + PARENTS, count = up == 1 ? PARENTS : 1;
        if (k + up >= GRIDS) {
            memset(c[first], 0, sizeof(c[0]) * count);
            continue;
        }
        const Level *coarse = &fit->levels[k + up];
        const float *parent = plane(coarse, coarse->planes, 0) + (size_t)(y >> up) * coarse->stride + (x >> up);
        for (int i = 0; i < count; i++) {
            const float *from = parent + PARENT_ABOVE[i] * coarse->stride + PARENT_ASIDE[i];
            float *to = (float *)c[first + i];
            if (up == 1)
                for (int p = 0; p < P; p++) to[p] = from[p >> 1];
            else
                for (int p = 0; p < P; p++) to[p] = from[p >> 2];
        }
    }
}

/* The inverse of `gather`: gradients of contexts are added to those of the latents that they are. */
static void scatter(const Fit *fit, int k, int y, int x, v16 (*g)[V]) {
    const Level *level = &fit->levels[k];
    float *here = plane(level, level->grads, 0) + (size_t)y * level->stride + x;
    for (int i = 0; i < SPATIAL; i++) {
        float *to = here + ABOVE[i] * level->stride + ASIDE[i];
        for (int t = 0; t < V; t++) store(to + LANES * t, load(to + LANES * t) + g[i][t]);
    }
    for (int up = 1; up <= 2 && k + up < GRIDS; up++) {
        int first = up == 1 ? SPATIAL : SPATIAL + PARENTS, count = up == 1 ? PARENTS : 1;
        const Level *coarse = &fit->levels[k + up];
        float *parent = plane(coarse, coarse->grads, 0) + (size_t)(y >> up) * coarse->stride + (x >> up);
        for (int i = 0; i < count; i++) {
            float *to = parent + PARENT_ABOVE[i] * coarse->stride + PARENT_ASIDE[i];
            const float *from = (const float *)g[first + i];
            if (up == 1)
                for (int p = 0; p < P / 2; p++) to[p] += from[2 * p] + from[2 * p + 1];
            else
                for (int p = 0; p < P / 4; p++)
                    to[p] += (from[4 * p] + from[4 * p + 1]) + (from[4 * p + 2] + from[4 * p + 3]);
        }
    }
}

/* out = what is positive of in + w in + b. */
static void residual(int quick, const Matrix *w, const float *b, const v16 (*in)[V], v16 (*out)[V]) {
    layer(quick, CONTEXT, CONTEXT, w, b, in, 1, in, out);
}

/* Gradient of out -> that of in; what is accumulated of weights. */
static void residual_back(int quick, const Matrix *turned, const v16 (*in)[V], const v16 (*out)[V], v16 (*g)[V], v16 (*to)[V],
                          v16 *w, v16 *b, int learn) {
    for (int o = 0; o < CONTEXT; o++)
        for (int t = 0; t < V; t++) g[o][t] = choose(out[o][t] > 0, g[o][t], splat(0));
    if (learn) outer(CONTEXT, CONTEXT, g, in, w, b);
    layer(quick, CONTEXT, CONTEXT, turned, NULL, g, 0, g, to);
}

/* Latents y under Laplace distributions of mean m and scale 2^s -> bits; the gradients of bits in y (that in m is its
 * negative) and in s. */
INLINE v16 bits_of(v16 y, v16 m, v16 s, v16 *by_y, v16 *by_s) {
    v16 kept = vmin(vmax(s, splat(LOWEST)), splat(HIGHEST));
    v16 a = exp2v(-kept), off = y - m, d = vabs(off), near = 0.5f - d, far = -0.5f - d;
    v16 e1 = exp2v(vabs(near) * a * -LOG2_E), e0 = exp2v(far * a * LOG2_E);
    v16 p = choose(d > 0.5f, 0.5f * (e1 - e0), 1.0f - 0.5f * (e1 + e0));
    p = vmax(p, splat(0)) + FLOOR;
    v16 by_p = -LOG2_E / p;
    v16 by_d = by_p * 0.5f * a * (e0 - e1);
    *by_y = (v16)((i16)by_d ^ ((i16)off & (int32_t)0x80000000));
    v16 by_a = by_p * 0.5f * (near * e1 - far * e0);
    v16 g = by_a * a * -0.69314718f;
    /* Beyond the range only what leads back into it counts. */
    i16 held = ((s < LOWEST) & (g > 0)) | ((s > HIGHEST) & (g < 0));
    *by_s = choose(held, splat(0), g);
    return -log2v(vmin(p, splat(1.0f)));
}

/* Bits of grid k under the contexts of the planes. sums: where gradients are wanted, times `weight`; else NULL. Of a
 * turn, the weights learn from one of LEARN tiles. */
static double rate(const Fit *fit, const Weights *w, const ContextMatrices *m, ContextSums *sums, float weight, int k,
                   int turn) {
    int quick = turn >= 0;
    v16 c[CONTEXT][V], h1[CONTEXT][V], h2[CONTEXT][V], out[2][V], g2[CONTEXT][V], g1[CONTEXT][V], gc[CONTEXT][V];
    const Level *level = &fit->levels[k];
    double bits = 0;
    for (int y = 0; y < level->height; y++)
        for (int x = 0; x < level->width; x += P) {
            int learn = !quick || (y + x / P + turn) % LEARN == 0;
            gather(fit, k, y, x, c);
            residual(quick, &m->w1, w->b1, c, h1);
            residual(quick, &m->w2, w->b2, h1, h2);
            layer(quick, CONTEXT, 2, &m->w3, w->b3, NULL, 0, h2, out);
            size_t at = (size_t)y * level->stride + x;
            const float *latents = plane(level, level->planes, 0) + at;
            v16 g[2][V], by_y[V], each[1][V];
            for (int t = 0; t < V; t++) {
                each[0][t] = bits_of(load(latents + LANES * t), out[0][t], out[1][t], &by_y[t], &g[1][t]);
                by_y[t] *= weight;
                g[0][t] = -by_y[t];
                g[1][t] *= weight;
            }
            mask(1, level->width - x, each);
            v16 sum = splat(0);
            for (int t = 0; t < V; t++) sum += each[0][t];
            bits += total(sum);
            if (!sums) continue;
            mask(2, level->width - x, g);
            float *own = plane(level, level->grads, 0) + at;
            for (int t = 0; t < V; t++) store(own + LANES * t, load(own + LANES * t) - g[0][t]);
            if (learn) outer(CONTEXT, 2, g, h2, sums->w3, sums->b3);
            layer(quick, 2, CONTEXT, &m->t3, NULL, NULL, 0, g, g2);
            residual_back(quick, &m->t2, h1, h2, g2, g1, sums->w2, sums->b2, learn);
            residual_back(quick, &m->t1, c, h1, g1, gc, sums->w1, sums->b1, learn);
            scatter(fit, k, y, x, gc);
        }
    return bits;
}

/* Bits of all grids. */
static double rate_of(const Fit *fit, const Weights *w) {
    ContextMatrices m;
    double bits = 0;
    matrices_of(w, &m);
    for (int k = 0; k < GRIDS; k++) bits += rate(fit, w, &m, NULL, 0, k, -1);
    return bits;
}

static void total_all(const v16 *sums, int count, float times, float *out) {
    for (int i = 0; i < count; i++) out[i] = times * total(sums[i]);
}

/* Bits of all grids; gradients, times `weight`, are added to those of the planes, and set for the weights. */
static double rate_back(const Fit *fit, const Weights *w, Weights *grad, float weight, int turn) {
    float times = turn < 0 ? 1 : LEARN;
    ContextSums sums;
    ContextMatrices m;
    double bits = 0;
    memset(&sums, 0, sizeof(sums));
    matrices_of(w, &m);
    for (int k = 0; k < GRIDS; k++) bits += rate(fit, w, &m, &sums, weight, k, turn);
    total_all(sums.w1, CONTEXT * CONTEXT, times, grad->w1);
    total_all(sums.w2, CONTEXT * CONTEXT, times, grad->w2);
    total_all(sums.w3, 2 * CONTEXT, times, grad->w3);
    total_all(sums.b1, CONTEXT, times, grad->b1);
    total_all(sums.b2, CONTEXT, times, grad->b2);
    total_all(sums.b3, 2, times, grad->b3);
    return bits;
}
