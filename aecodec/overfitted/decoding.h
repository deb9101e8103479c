/* A tile's latents, exactly: fixed-point contexts, and an entropy coder that is constriction's AnsCoder of 32-bit words
 * and a 64-bit state. Latents of a grid are decoded wave by wave: the wave of row r and column c is c + 3 r, so that
 * all their contexts lie in earlier ones. A grid being decoded is kept skewed, a line for each wave. */
#include "context.h"

#define SLOPE 3
#define BACK 9      /* waves that contexts reach back */
#define ABOVE_MOST 3 /* rows that they reach up */
#define CLIP 127    /* what a context shows of a latent */
#define POINT 8     /* fractional bits of activations */
#define WEIGHT_POINT 10
#define ACTIVATION_MAX 32767
#define FRACTIONS 16 /* of a mean */
#define MEAN_MOST (CLIP * FRACTIONS)
#define SCALES 80
#define UNIT_SCALE 37 /* the table of scale 1; eight are an octave */
#define REACH 64      /* symbols of a table: -64 ... 64, then the escape */
#define SLOTS (2 * REACH + 2)
#define PRECISION 24
#define ESCAPE_BITS 16
#define BATCH 64

typedef struct {
    int32_t w1[CONTEXT * CONTEXT], w2[CONTEXT * CONTEXT], w3[2 * CONTEXT], b1[CONTEXT], b2[CONTEXT], b3[2];
} FixedContext;

typedef struct {
    const uint32_t *words;
    int64_t left;
    uint64_t state;
} Coder;

INLINE void refill(Coder *coder) {
    if (coder->state >> 32 == 0 && coder->left > 0) coder->state = coder->state << 32 | coder->words[--coder->left];
}

INLINE void advance(Coder *coder, uint64_t start, uint64_t width) {
    uint64_t quantile = coder->state & ((1u << PRECISION) - 1);
    coder->state = (coder->state >> PRECISION) * width + (quantile - start);
    refill(coder);
}

/* starts: the SLOTS + 1 quantiles of a table. */
INLINE int pop(Coder *coder, const uint32_t *starts) {
    uint32_t quantile = coder->state & ((1u << PRECISION) - 1);
    int slot = REACH;
    if (quantile >= starts[slot])
        while (quantile >= starts[slot + 1]) slot++;
    else
        while (quantile < starts[slot]) slot--;
    advance(coder, starts[slot], starts[slot + 1] - starts[slot]);
    return slot;
}

INLINE int32_t pop_raw(Coder *coder) {
    int32_t value = (coder->state & ((1u << PRECISION) - 1)) >> (PRECISION - ESCAPE_BITS);
    advance(coder, (uint64_t)value << (PRECISION - ESCAPE_BITS), 1u << (PRECISION - ESCAPE_BITS));
    return value;
}

/* Fixed-point sums of a batch: out[o] = b[o] + sum over i of w[o][i] x[i]. */
INLINE void fixed_dense(int outs, const int32_t *w, const int32_t *b, const i16 (*x)[BATCH / LANES],
                        i16 (*out)[BATCH / LANES]) {
    for (int o = 0; o < outs; o++) {
        i16 acc[BATCH / LANES];
        for (int t = 0; t < BATCH / LANES; t++) acc[t] = (i16){0} + b[o];
        for (int i = 0; i < CONTEXT; i++)
            for (int t = 0; t < BATCH / LANES; t++) acc[t] += w[o * CONTEXT + i] * x[i][t];
        for (int t = 0; t < BATCH / LANES; t++) out[o][t] = acc[t];
    }
}

INLINE void fixed_residual(const int32_t *w, const int32_t *b, const i16 (*x)[BATCH / LANES],
                           i16 (*out)[BATCH / LANES]) {
    fixed_dense(CONTEXT, w, b, x, out);
    for (int o = 0; o < CONTEXT; o++)
        for (int t = 0; t < BATCH / LANES; t++) {
            i16 h = (out[o][t] + (x[o][t] << WEIGHT_POINT) + (1 << (WEIGHT_POINT - 1))) >> WEIGHT_POINT;
            h &= h > 0;
            i16 over = h > ACTIVATION_MAX;
            out[o][t] = (h & ~over) | (((i16){0} + ACTIVATION_MAX) & over);
        }
}

static int32_t within(int32_t x, int32_t low, int32_t high) { return x < low ? low : x > high ? high : x; }

/* A decoded grid as contexts of finer ones see it: in fixed point, with a ring of zeros. */
typedef struct {
    int32_t *cells;
    int height, width;
} Seen;

INLINE const int32_t *seen_at(const Seen *seen, int row, int column) {
    return seen->cells + (size_t)(row + 1) * (seen->width + 2) + column + 1;
}

/* The contexts that rows row ... row + count - 1 of a wave have in coarser grids. */
static void look_up(const Seen *coarser, int wave, int row, int count, i16 (*x)[BATCH / LANES]) {
    for (int up = 1; up <= 2; up++) {
        int first = up == 1 ? SPATIAL : SPATIAL + PARENTS, all = up == 1 ? PARENTS : 1;
        const Seen *seen = coarser + up - 1;
        for (int i = 0; i < all; i++) {
            int32_t *to = (int32_t *)x[first + i];
            for (int p = 0; p < count; p++) {
                int r = row + p, c = wave - SLOPE * r;
                to[p] = seen->cells ? seen_at(seen, (r >> up) + PARENT_ABOVE[i], (c >> up) + PARENT_ASIDE[i])[0] : 0;
            }
        }
    }
}

/* coarser: the next two coarser grids, without cells where there are none. -> 0, or 1 without memory. */
static int decode_grid(Coder *coder, const FixedContext *w, const uint32_t *starts, const Seen coarser[2], Seen *seen,
                       int32_t *latents) {
    int height = seen->height, width = seen->width, waves = width + SLOPE * (height - 1);
    size_t line = height + ABOVE_MOST + BATCH;
    int32_t *skewed = calloc(line * (waves + BACK), sizeof(int32_t));
    if (!skewed) return 1;
    for (int wave = 0; wave < waves; wave++) {
        int first = wave < width ? 0 : (wave - width) / SLOPE + 1, last = wave / SLOPE;
        if (last >= height) last = height - 1;
        int escaped = 0;
        for (int row = first; row <= last; row += BATCH) {
            int count = last - row + 1 < BATCH ? last - row + 1 : BATCH;
            i16 x[CONTEXT][BATCH / LANES], h1[CONTEXT][BATCH / LANES], h2[CONTEXT][BATCH / LANES];
            i16 out[2][BATCH / LANES];
            for (int i = 0; i < SPATIAL; i++)
                memcpy(x[i],
                       skewed + (size_t)(wave + BACK + ASIDE[i] + SLOPE * ABOVE[i]) * line + row + ABOVE_MOST + ABOVE[i],
                       sizeof(x[i]));
            look_up(coarser, wave, row, count, x);
            fixed_residual(w->w1, w->b1, x, h1);
            fixed_residual(w->w2, w->b2, h1, h2);
            fixed_dense(2, w->w3, w->b3, h2, out);
            const int32_t *means = (const int32_t *)out[0], *scales = (const int32_t *)out[1];
            for (int p = 0; p < count; p++) {
                int32_t mean = within((means[p] + (1 << 13)) >> 14, -MEAN_MOST, MEAN_MOST);
                int32_t scale = within(((scales[p] + (1 << 14)) >> 15) + UNIT_SCALE, 0, SCALES - 1);
                int32_t whole = (mean + FRACTIONS / 2) >> 4, fraction = mean - FRACTIONS * whole + FRACTIONS / 2;
                int slot = pop(coder, starts + (size_t)(scale * FRACTIONS + fraction) * (SLOTS + 1));
                int r = row + p;
                int32_t *latent = latents + (size_t)r * width + wave - SLOPE * r;
                *latent = whole + slot - REACH;
                escaped |= slot == SLOTS - 1;
                skewed[(size_t)(wave + BACK) * line + r + ABOVE_MOST] =
                    slot == SLOTS - 1 ? INT32_MIN + whole + MEAN_MOST : within(*latent, -CLIP, CLIP) << POINT;
            }
        }
        for (int r = first; escaped && r <= last; r++) {
            int32_t *cell = skewed + (size_t)(wave + BACK) * line + r + ABOVE_MOST;
            if (*cell > INT32_MIN + 2 * MEAN_MOST) continue;
            int32_t whole = *cell - INT32_MIN - MEAN_MOST, code = pop_raw(coder);
            int32_t off = code & 1 ? -REACH - 1 - (code >> 1) : REACH + 1 + (code >> 1);
            latents[(size_t)r * width + wave - SLOPE * r] = whole + off;
            *cell = within(whole + off, -CLIP, CLIP) << POINT;
        }
    }
    free(skewed);
    for (int r = 0; r < height; r++)
        for (int c = 0; c < width; c++)
            *(int32_t *)seen_at(seen, r, c) = within(latents[(size_t)r * width + c], -CLIP, CLIP) << POINT;
    return 0;
}

/* -> 0, 1 without memory, 2 if the payload holds more or less than the latents. latents: grid after grid, finest first. */
static int decode_all(int height, int width, const FixedContext *w, const uint32_t *starts, const uint32_t *words,
                      int64_t count, int32_t *latents) {
    Coder coder = {words, count, 0};
    refill(&coder);
    refill(&coder);
    Seen seen[GRIDS + 2] = {{0}};
    int32_t *end = latents;
    for (int k = 0; k < GRIDS; k++) {
        seen[k].height = (height + (1 << k) - 1) >> k, seen[k].width = (width + (1 << k) - 1) >> k;
        end += (size_t)seen[k].height * seen[k].width;
    }
    int fault = 0;
    for (int k = GRIDS - 1; k >= 0 && !fault; k--) {
        end -= (size_t)seen[k].height * seen[k].width;
        seen[k].cells = calloc((size_t)(seen[k].height + 2) * (seen[k].width + 2), sizeof(int32_t));
        fault = seen[k].cells ? decode_grid(&coder, w, starts, seen + k + 1, seen + k, end) : 1;
    }
    for (int k = 0; k < GRIDS; k++) free(seen[k].cells);
    return fault ? fault : coder.state || coder.left ? 2 : 0;
}
