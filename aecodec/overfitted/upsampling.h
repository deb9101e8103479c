/* From one level to the next finer one: each axis doubled by a filter of four taps and its mirror image.
 *
 * out[2i] = a0 in[i-2] + a1 in[i-1] + a2 in[i] + a3 in[i+1], out[2i+1] = a3 in[i-1] + a2 in[i] + a1 in[i+1] + a0 in[i+2];
 * what lies outside is as the edge. */
#include "fitting.h"

static int clamp(int i, int size) { return i < 0 ? 0 : i >= size ? size - 1 : i; }

/* The input rows of an output row, and the tap of each. */
INLINE void rows_of(int y, int height, int rows[TAPS], int which[TAPS]) {
    for (int j = 0; j < TAPS; j++) {
        int first = y & 1 ? 1 - TAPS / 2 : -TAPS / 2;
        rows[j] = clamp((y >> 1) + first + j, height);
        which[j] = y & 1 ? TAPS - 1 - j : j;
    }
}

/* t[x] for x = -2 ... width + 1: the input rows, weighed. */
static void vertical(const float *in, int stride, int width, const int rows[TAPS], const int which[TAPS],
                     const float *taps, float *restrict t) {
    const float *a = in + rows[0] * stride, *b = in + rows[1] * stride, *c = in + rows[2] * stride,
                *d = in + rows[3] * stride;
    float wa = taps[which[0]], wb = taps[which[1]], wc = taps[which[2]], wd = taps[which[3]];
    for (int x = 0; x < width; x++) t[x] = wa * a[x] + wb * b[x] + wc * c[x] + wd * d[x];
    t[-2] = t[-1] = t[0];
    t[width] = t[width + 1] = t[width - 1];
}

static void upsample(const Fit *fit, int to, const float *taps) {
    const Level *fine = &fit->levels[to], *coarse = &fit->levels[to + 1];
    float *t = fit->row + MARGIN;
    float a0 = taps[0], a1 = taps[1], a2 = taps[2], a3 = taps[3];
    for (int c = 0; c < GRIDS - 1 - to; c++) {
        const float *in = plane(coarse, coarse->planes, c);
        float *out = plane(fine, fine->planes, c + 1);
        for (int y = 0; y < fine->height; y++, out += fine->stride) {
            int rows[TAPS], which[TAPS];
            rows_of(y, coarse->height, rows, which);
            vertical(in, coarse->stride, coarse->width, rows, which, taps, t);
            float *restrict o = out;
            for (int x = 0; x < fine->width / 2; x++) {
                o[2 * x] = a0 * t[x - 2] + a1 * t[x - 1] + a2 * t[x] + a3 * t[x + 1];
                o[2 * x + 1] = a3 * t[x - 1] + a2 * t[x] + a1 * t[x + 1] + a0 * t[x + 2];
            }
            int x = fine->width / 2;
            if (fine->width & 1) o[2 * x] = a0 * t[x - 2] + a1 * t[x - 1] + a2 * t[x] + a3 * t[x + 1];
        }
    }
}

/* Gradients of the finer level -> those of the coarser one, which are set, and of the taps, which are added to. */
static void upsample_back(const Fit *fit, int to, const float *taps, float *taps_grad) {
    const Level *fine = &fit->levels[to], *coarse = &fit->levels[to + 1];
    int width = coarse->width, half = fine->width / 2, all = (fine->width + 1) / 2;
    size_t cells = width + 2 * MARGIN;
    float *t = fit->row + MARGIN, *even = t + cells, *odd = even + cells, *g = odd + cells;
    memset(even - MARGIN, 0, cells * sizeof(float));
    memset(odd - MARGIN, 0, cells * sizeof(float));
    float a0 = taps[0], a1 = taps[1], a2 = taps[2], a3 = taps[3];
    memset(coarse->grads, 0, coarse->size * (GRIDS - 1 - to) * sizeof(float));
    for (int c = 0; c < GRIDS - 1 - to; c++) {
        const float *in = plane(coarse, coarse->planes, c), *from = plane(fine, fine->grads, c + 1);
        float *back = plane(coarse, coarse->grads, c);
        for (int y = 0; y < fine->height; y++, from += fine->stride) {
            int rows[TAPS], which[TAPS];
            rows_of(y, coarse->height, rows, which);
            vertical(in, coarse->stride, width, rows, which, taps, t);
            for (int x = 0; x < half; x++) even[x] = from[2 * x], odd[x] = from[2 * x + 1];
            if (all > half) even[half] = from[2 * half];
            float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
            for (int x = 0; x < width; x++) {
                s0 += even[x] * t[x - 2] + odd[x] * t[x + 2];
                s1 += even[x] * t[x - 1] + odd[x] * t[x + 1];
                s2 += (even[x] + odd[x]) * t[x];
                s3 += even[x] * t[x + 1] + odd[x] * t[x - 1];
            }
            taps_grad[0] += s0, taps_grad[1] += s1, taps_grad[2] += s2, taps_grad[3] += s3;
            for (int x = -2; x < width + 2; x++)
                g[x] = a0 * (even[x + 2] + odd[x - 2]) + a1 * (even[x + 1] + odd[x - 1]) + a2 * (even[x] + odd[x]) +
                       a3 * (even[x - 1] + odd[x + 1]);
            g[0] += g[-2] + g[-1];
            g[width - 1] += g[width] + g[width + 1];
            for (int j = 0; j < TAPS; j++) {
                const float *source = in + rows[j] * coarse->stride;
                float *restrict target = back + rows[j] * coarse->stride, weight = taps[which[j]], sum = 0;
                for (int x = 0; x < width; x++) {
                    target[x] += weight * g[x];
                    sum += source[x] * g[x];
                }
                taps_grad[which[j]] += sum;
            }
        }
    }
}
