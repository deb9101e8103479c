/* One picture being fitted: its planes, the networks' weights, and what is accumulated of their gradients.
 *
 * A grid k = 0 ... GRIDS - 1 has a value for each 2^k x 2^k pixels. At level k there are planes of channels k ...
 * GRIDS - 1: the grid's own latents, and those of the coarser ones, upsampled. Planes have PAD zeros around them. */
#include "kernels.h"

#define GRIDS 7
#define PAD 4
#define CONTEXT 20
#define SPATIAL 14
#define HIDDEN 48
#define INPUTS 8 /* GRIDS, and a zero that makes it a multiple of 4 */
#define COLOURS 3
#define TAPS 4
#define MARGIN 16 /* cells around a row that is upsampled */

/* Weights, in the order in which they lie in one array. */
typedef struct {
    float w1[CONTEXT * CONTEXT], w2[CONTEXT * CONTEXT], w3[2 * CONTEXT];
    float b1[CONTEXT], b2[CONTEXT], b3[2];
    float v1[HIDDEN * GRIDS], v2[COLOURS * HIDDEN];
    float c1[HIDDEN], c2[COLOURS];
    float k1[COLOURS * COLOURS * 9], k2[COLOURS * COLOURS * 9];
    float d1[COLOURS], d2[COLOURS];
    float taps[(GRIDS - 1) * TAPS];
} Weights;

typedef struct {
    int height, width, stride;
    size_t size;    /* floats of a plane */
    float *planes;  /* GRIDS - k of them */
    float *grads;
    float *slope;   /* of the decoded latents in the real ones, (height, width) */
} Level;

typedef struct {
    Level levels[GRIDS];
    int height, width, image_stride;
    size_t image_size;
    float *images[3], *image_grads[3]; /* before, between and after the convolutions; COLOURS planes each */
    float *target;
    float *row; /* space for four rows, each with its margins */
    float *pool;
    size_t latents;
} Fit;

INLINE float *plane(const Level *level, float *base, int channel) {
    return base + channel * level->size + PAD * level->stride + PAD;
}
#define EDGE 16 /* columns left of an image plane, so that its rows are aligned; rows above it: 2 */
INLINE float *image(const Fit *fit, float *base, int colour) {
    return base + colour * fit->image_size + 2 * fit->image_stride + EDGE;
}

static float *take(float **pool, size_t count) {
    float *start = *pool;
    *pool += (count + 63) / 64 * 64;
    return start;
}

/* The places of all planes in a pool of floats -> its end. */
static float *lay_out(Fit *fit, float *pool) {
    fit->latents = 0;
    for (int k = 0; k < GRIDS; k++) {
        Level *level = &fit->levels[k];
        level->height = (fit->height + (1 << k) - 1) >> k;
        level->width = (fit->width + (1 << k) - 1) >> k;
        level->stride = (level->width + 2 * PAD + 15) / 16 * 16;
        level->size = (size_t)level->stride * (level->height + 2 * PAD) + 2 * P;
        level->planes = take(&pool, level->size * (GRIDS - k));
        level->grads = take(&pool, level->size * (GRIDS - k));
        level->slope = take(&pool, (size_t)level->height * level->width);
        fit->latents += (size_t)level->height * level->width;
    }
    fit->image_stride = (fit->width + 2 * EDGE + 15) / 16 * 16;
    fit->image_size = (size_t)fit->image_stride * (fit->height + 4) + 2 * P;
    for (int i = 0; i < 3; i++) {
        fit->images[i] = take(&pool, fit->image_size * COLOURS);
        fit->image_grads[i] = take(&pool, fit->image_size * COLOURS);
    }
    fit->target = take(&pool, fit->image_size * COLOURS);
    fit->row = take(&pool, 4 * (size_t)(fit->width + 2 * MARGIN));
    return pool;
}

static Fit *open_fit(int height, int width) {
    Fit *fit = calloc(1, sizeof(Fit));
    if (!fit) return NULL;
    fit->height = height, fit->width = width;
    float base[64], *end = lay_out(fit, base);
    size_t bytes = ((char *)end - (char *)base + 4095) / 4096 * 4096;
    fit->pool = aligned_alloc(64, bytes);
    if (!fit->pool) {
        free(fit);
        return NULL;
    }
    memset(fit->pool, 0, bytes);
    lay_out(fit, fit->pool);
    return fit;
}
