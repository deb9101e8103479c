/* Planes of level 0 to colours, and back: two dense layers at each pixel, then two residual 3 x 3 convolutions. */
#include "upsampling.h"

#define LEARN 4 /* of a turn: tiles for each that weights learn from */

/* The inputs of a tile that begins at column x of row y. */
INLINE void inputs(const Fit *fit, int y, int x, v16 (*u)[V]) {
    const Level *level = &fit->levels[0];
    for (int c = 0; c < GRIDS; c++) {
        const float *from = plane(level, level->planes, c) + (size_t)y * level->stride + x;
        for (int t = 0; t < V; t++) u[c][t] = load(from + LANES * t);
    }
    memset(u[GRIDS], 0, sizeof(u[0]));
}

/* The matrices of the dense layers, v1 with the rows of INPUTS, and transposed. */
typedef struct {
    Matrix v1, v2, t1;
    float wide[HIDDEN * INPUTS], turned1[INPUTS * HIDDEN], turned2[HIDDEN * COLOURS];
} MixMatrices;

static void widen(const Weights *w, MixMatrices *m) {
    for (int o = 0; o < HIDDEN; o++)
        for (int i = 0; i < INPUTS; i++) m->wide[o * INPUTS + i] = i < GRIDS ? w->v1[o * GRIDS + i] : 0.0f;
    transpose(HIDDEN, INPUTS, m->wide, m->turned1);
    transpose(COLOURS, HIDDEN, w->v2, m->turned2);
    halve(&m->v1, INPUTS, HIDDEN, m->wide);
    halve(&m->v2, HIDDEN, COLOURS, w->v2);
    halve(&m->t1, HIDDEN, GRIDS, m->turned1);
}

static void hide(int quick, const MixMatrices *m, const Weights *w, const v16 (*u)[V], v16 (*h)[V]) {
    layer(quick, INPUTS, HIDDEN, &m->v1, w->c1, NULL, 1, u, h);
}

#if PAIRED
/* Outputs o ... o + 3 of the hidden layer before its rectifier, for one vector of inputs. */
INLINE void hide_four(const MixMatrices *m, const float *bias, int o, const i16 *u, v16 *h) {
    for (int j = 0; j < 4; j++) h[j] = splat(bias[o + j]);
    _Pragma("GCC unroll 4") for (int i = 0; i < INPUTS / 2; i++)
        _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) h[j] =
            dot(h[j], u[i], m->v1.pairs[(o + j) * (INPUTS / 2) + i]);
}

/* What `hide` and the second layer give, without the hidden ones being stored. */
static void mix_quickly(const MixMatrices *m, const Weights *w, const v16 (*u)[V], v16 (*out)[V]) {
    i16 pairs[INPUTS / 2][V];
    pair(INPUTS, u, pairs);
    for (int t = 0; t < V; t++) {
        i16 x[INPUTS / 2];
        v16 sums[COLOURS], h[4];
        for (int i = 0; i < INPUTS / 2; i++) x[i] = pairs[i][t];
        for (int c = 0; c < COLOURS; c++) sums[c] = splat(w->c2[c]);
        for (int o = 0; o < HIDDEN; o += 4) {
            hide_four(m, w->c1, o, x, h);
            for (int j = 0; j < 4; j++) h[j] = rectify(h[j]);
            i16 first = pair_of(h[0], h[1]), second = pair_of(h[2], h[3]);
            _Pragma("GCC unroll 3") for (int c = 0; c < COLOURS; c++) {
                sums[c] = dot(sums[c], first, m->v2.pairs[(c * HIDDEN + o) / 2]);
                sums[c] = dot(sums[c], second, m->v2.pairs[(c * HIDDEN + o) / 2 + 1]);
            }
        }
        for (int c = 0; c < COLOURS; c++) out[c][t] = sums[c];
    }
}

/* Gradients g of the colours -> those of the inputs. */
static void mix_back_quickly(const MixMatrices *m, const Weights *w, const v16 (*u)[V], const v16 (*g)[V],
                             v16 (*gu)[V]) {
    i16 pairs[INPUTS / 2][V];
    pair(INPUTS, u, pairs);
    for (int t = 0; t < V; t++) {
        i16 x[INPUTS / 2];
        v16 sums[GRIDS], h[4], a = g[0][t], b = g[1][t], c = g[2][t];
        for (int i = 0; i < INPUTS / 2; i++) x[i] = pairs[i][t];
        for (int i = 0; i < GRIDS; i++) sums[i] = splat(0);
        for (int o = 0; o < HIDDEN; o += 4) {
            hide_four(m, w->c1, o, x, h);
            _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) {
                const float *v = m->turned2 + COLOURS * (o + j);
                h[j] = where_positive(h[j], v[0] * a + v[1] * b + v[2] * c);
            }
            i16 first = pair_of(h[0], h[1]), second = pair_of(h[2], h[3]);
            _Pragma("GCC unroll 7") for (int i = 0; i < GRIDS; i++) {
                sums[i] = dot(sums[i], first, m->t1.pairs[(i * HIDDEN + o) / 2]);
                sums[i] = dot(sums[i], second, m->t1.pairs[(i * HIDDEN + o) / 2 + 1]);
            }
        }
        for (int i = 0; i < GRIDS; i++) gu[i][t] = sums[i];
    }
}
#else
#define mix_quickly(m, w, u, out)
#define mix_back_quickly(m, w, u, g, gu)
#endif

static void mix(const Fit *fit, const Weights *w, int quick) {
    MixMatrices m;
    v16 u[INPUTS][V], h[HIDDEN][V], out[COLOURS][V];
    widen(w, &m);
    for (int y = 0; y < fit->height; y++)
        for (int x = 0; x < fit->width; x += P) {
            inputs(fit, y, x, u);
            if (PAIRED && quick)
                mix_quickly(&m, w, u, out);
            else {
                hide(quick, &m, w, u, h);
                layer(quick, HIDDEN, COLOURS, &m.v2, w->c2, NULL, 0, h, out);
            }
            for (int c = 0; c < COLOURS; c++) {
                float *to = image(fit, fit->images[0], c) + (size_t)y * fit->image_stride + x;
                for (int t = 0; t < V; t++) store(to + LANES * t, out[c][t]);
            }
        }
}

typedef struct {
    v16 v1[HIDDEN * INPUTS], v2[COLOURS * HIDDEN], c1[HIDDEN], c2[COLOURS];
} MixSums;

static void mix_back(const Fit *fit, const Weights *w, Weights *grad, int turn) {
    MixMatrices m;
    int quick = turn >= 0;
    v16 u[INPUTS][V], h[HIDDEN][V], g[COLOURS][V], gh[HIDDEN][V], gu[INPUTS][V];
    MixSums sums;
    float times = turn < 0 ? 1 : LEARN;
    memset(&sums, 0, sizeof(sums));
    widen(w, &m);
    const Level *level = &fit->levels[0];
    for (int y = 0; y < fit->height; y++)
        for (int x = 0; x < fit->width; x += P) {
            int learn = turn < 0 || (y + x / P + turn) % LEARN == 0;
            inputs(fit, y, x, u);
            for (int c = 0; c < COLOURS; c++) {
                const float *from = image(fit, fit->image_grads[0], c) + (size_t)y * fit->image_stride + x;
                for (int t = 0; t < V; t++) g[c][t] = load(from + LANES * t);
            }
            mask(COLOURS, fit->width - x, g);
            if (PAIRED && !learn)
                mix_back_quickly(&m, w, u, g, gu);
            else {
                hide(quick, &m, w, u, h);
                for (int o = 0; o < HIDDEN; o++) {
                    const float *v = m.turned2 + COLOURS * o;
                    for (int t = 0; t < V; t++)
                        gh[o][t] = choose(h[o][t] > 0, v[0] * g[0][t] + v[1] * g[1][t] + v[2] * g[2][t], splat(0));
                }
                if (learn) outer(HIDDEN, COLOURS, g, h, sums.v2, sums.c2);
                if (learn) outer(INPUTS, HIDDEN, gh, u, sums.v1, sums.c1);
                layer(quick, HIDDEN, GRIDS, &m.t1, NULL, NULL, 0, gh, gu);
            }
            for (int c = 0; c < GRIDS; c++) {
                float *to = plane(level, level->grads, c) + (size_t)y * level->stride + x;
                for (int t = 0; t < V; t++) store(to + LANES * t, gu[c][t]);
            }
        }
    for (int o = 0; o < HIDDEN; o++) {
        for (int i = 0; i < GRIDS; i++) grad->v1[o * GRIDS + i] = times * total(sums.v1[o * INPUTS + i]);
        grad->c1[o] = times * total(sums.c1[o]);
    }
    for (int i = 0; i < COLOURS * HIDDEN; i++) grad->v2[i] = times * total(sums.v2[i]);
    for (int c = 0; c < COLOURS; c++) grad->c2[c] = times * total(sums.c2[c]);
}

/* The cells around an image become as its edge. */
static void frame(const Fit *fit, float *planes) {
    int height = fit->height, width = fit->width, stride = fit->image_stride;
    for (int c = 0; c < COLOURS; c++) {
        float *p = image(fit, planes, c);
        for (int y = 0; y < height; y++) {
            float *row = p + (size_t)y * stride;
            row[-1] = row[0];
            row[width] = row[width - 1];
        }
        memcpy(p - stride - 1, p - 1, sizeof(float) * (width + 2));
        memcpy(p + (size_t)height * stride - 1, p + (size_t)(height - 1) * stride - 1, sizeof(float) * (width + 2));
    }
}

/* out = in + k * in + d, of which what is negative becomes 0 if `rectified`. */
static void convolve(const Fit *fit, float *from, float *to, const float *k, const float *d, int rectified) {
    int stride = fit->image_stride;
    frame(fit, from);
    for (int y = 0; y < fit->height; y++)
        for (int x = 0; x < fit->width; x += 2 * LANES)
            for (int o = 0; o < COLOURS; o++) {
                const float *self = image(fit, from, o) + (size_t)y * stride + x;
                v16 a = load(self) + d[o], b = load(self + LANES) + d[o];
                for (int i = 0; i < COLOURS; i++) {
                    const float *in = image(fit, from, i) + (size_t)y * stride + x;
                    const float *weight = k + (o * COLOURS + i) * 9;
#pragma GCC unroll 9
                    for (int j = 0; j < 9; j++) {
                        const float *there = in + (j / 3 - 1) * stride + j % 3 - 1;
                        a += weight[j] * load(there);
                        b += weight[j] * load(there + LANES);
                    }
                }
                float *out = image(fit, to, o) + (size_t)y * stride + x;
                store(out, rectified ? positive(a) : a);
                store(out + LANES, rectified ? positive(b) : b);
            }
}

/* Sets to zero what lies around the images: the gradient's convolution reads it. */
static void clear_around(const Fit *fit, float *planes) {
    int stride = fit->image_stride;
    for (int c = 0; c < COLOURS; c++) {
        float *p = planes + c * fit->image_size, *inner = image(fit, planes, c);
        memset(p, 0, sizeof(float) * 2 * stride);
        for (int y = 0; y < fit->height; y++) {
            float *row = inner + (size_t)y * stride;
            memset(row - EDGE, 0, sizeof(float) * EDGE);
            memset(row + fit->width, 0, sizeof(float) * (stride - EDGE - fit->width));
        }
        float *after = inner + (size_t)fit->height * stride - EDGE;
        memset(after, 0, sizeof(float) * (p + fit->image_size - after));
    }
}

/* `out_grad`, of what a convolution gave (`out`), becomes that before the rectifier; in_grad is set. */
static void convolve_back(const Fit *fit, float *in, float *out, float *out_grad, float *in_grad, const float *k,
                          float *k_grad, float *d_grad, int rectified, int turn) {
    int stride = fit->image_stride, height = fit->height, width = fit->width;
    float times = turn < 0 ? 1 : LEARN;
    if (rectified)
        for (int c = 0; c < COLOURS; c++)
            for (int y = 0; y < height; y++) {
                float *g = image(fit, out_grad, c) + (size_t)y * stride;
                const float *o = image(fit, out, c) + (size_t)y * stride;
                for (int x = 0; x < width; x++) g[x] = o[x] > 0 ? g[x] : 0.0f;
            }
    clear_around(fit, out_grad);
    for (int o = 0; o < COLOURS; o++) {
        v16 bias = splat(0);
        for (int i = 0; i < COLOURS; i++) {
            v16 sums[9];
            for (int j = 0; j < 9; j++) sums[j] = splat(0);
            for (int y = turn < 0 ? 0 : turn % LEARN; y < height; y += turn < 0 ? 1 : LEARN) {
                const float *g = image(fit, out_grad, o) + (size_t)y * stride;
                const float *x = image(fit, in, i) + (size_t)y * stride;
                for (int p = 0; p < width; p += LANES) {
                    v16 here = load(g + p);
                    if (i == 0) bias += here;
#pragma GCC unroll 9
                    for (int j = 0; j < 9; j++) sums[j] += here * load(x + p + (j / 3 - 1) * stride + j % 3 - 1);
                }
            }
            for (int j = 0; j < 9; j++) k_grad[(o * COLOURS + i) * 9 + j] = times * total(sums[j]);
        }
        d_grad[o] = times * total(bias);
    }
    for (int i = 0; i < COLOURS; i++) {
        float *to = image(fit, in_grad, i);
        for (int y = -1; y <= height; y++)
            for (int x = -EDGE; x <= width; x += LANES) {
                v16 sum = load(image(fit, out_grad, i) + (ptrdiff_t)y * stride + x);
                for (int o = 0; o < COLOURS; o++) {
                    const float *g = image(fit, out_grad, o) + (ptrdiff_t)y * stride + x;
#pragma GCC unroll 9
                    for (int j = 0; j < 9; j++)
                        sum += k[(o * COLOURS + i) * 9 + j] * load(g - (j / 3 - 1) * stride - (j % 3 - 1));
                }
                store(to + (ptrdiff_t)y * stride + x, sum);
            }
        for (int y = -1; y <= height; y++) {
            float *row = to + (ptrdiff_t)y * stride;
            row[0] += row[-1];
            row[width - 1] += row[width];
        }
        for (int x = 0; x < width; x++) {
            to[x] += to[x - stride];
            to[(size_t)(height - 1) * stride + x] += to[(size_t)height * stride + x];
        }
    }
}

/* Decoded latents in the planes -> images[2]. */
static void synthesise(const Fit *fit, const Weights *w, int quick) {
    for (int to = GRIDS - 2; to >= 0; to--) upsample(fit, to, w->taps + to * TAPS);
    mix(fit, w, quick);
    convolve(fit, fit->images[0], fit->images[1], w->k1, w->d1, 1);
    convolve(fit, fit->images[1], fit->images[2], w->k2, w->d2, 0);
}

/* images[2] and the target -> the sum of squared errors; their gradients, times `weight`, back to the planes of every
 * level and to the weights. */
static double synthesise_back(const Fit *fit, const Weights *w, Weights *grad, float weight, int turn) {
    double error = 0;
    for (int c = 0; c < COLOURS; c++)
        for (int y = 0; y < fit->height; y++) {
            size_t at = (size_t)y * fit->image_stride;
            const float *x = image(fit, fit->images[2], c) + at, *t = image(fit, fit->target, c) + at;
            float *g = image(fit, fit->image_grads[2], c) + at, sum = 0;
            for (int i = 0; i < fit->width; i++) {
                float off = x[i] - t[i];
                sum += off * off;
                g[i] = 2 * weight * off;
            }
            error += sum;
        }
    convolve_back(fit, fit->images[1], fit->images[2], fit->image_grads[2], fit->image_grads[1], w->k2, grad->k2,
                  grad->d2, 0, turn);
    convolve_back(fit, fit->images[0], fit->images[1], fit->image_grads[1], fit->image_grads[0], w->k1, grad->k1,
                  grad->d1, 1, turn);
    mix_back(fit, w, grad, turn);
    for (int to = 0; to < GRIDS - 1; to++) upsample_back(fit, to, w->taps + to * TAPS, grad->taps + to * TAPS);
    return error;
}
