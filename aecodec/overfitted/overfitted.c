/* Pictures fitted and decoded: what Python calls. */
#include "decoding.h"

void *overfitted_open(int height, int width) { return open_fit(height, width); }

void overfitted_close(Fit *fit) {
    free(fit->pool);
    free(fit);
}

/* target: (height, width, COLOURS) in [0, 1]. */
void overfitted_target(Fit *fit, const float *target) {
    for (int c = 0; c < COLOURS; c++)
        for (int y = 0; y < fit->height; y++)
            for (int x = 0; x < fit->width; x++)
                image(fit, fit->target, c)[(size_t)y * fit->image_stride + x] =
                    target[((size_t)y * fit->width + x) * COLOURS + c];
}

/* Soft rounding (Agustsson and Theis 2020) at a temperature -> value and slope. norm: half the inverse of the hyperbolic
 * tangent of half the inverse temperature. */
INLINE v16 soft_round(v16 y, float temperature, float norm, v16 *slope) {
    v16 floor = __builtin_convertvector(__builtin_convertvector(y, i16), v16);
    floor = choose(floor > y, floor - 1.0f, floor);
    v16 t = tanhv((y - floor - 0.5f) / temperature);
    *slope = (1.0f - t * t) * (norm / temperature);
    return floor + 0.5f + norm * t;
}

/* y: real latents, grid after grid -> decoded ones in the planes, and their slopes. noise: as many values, or NULL:
 * then they are rounded, with a slope of 1. */
static void quantise(Fit *fit, const float *y, const float *noise, float temperature, float amount, float slope) {
    float norm = noise ? 0.5f / tanhf(0.5f / temperature) : 0;
    for (int k = 0; k < GRIDS; k++) {
        Level *level = &fit->levels[k];
        int width = level->width;
        for (int r = 0; r < level->height; r++) {
            float *to = plane(level, level->planes, 0) + (size_t)r * level->stride;
            float *slopes = level->slope + (size_t)r * width;
            if (!noise) {
                for (int x = 0; x < width; x++) to[x] = nearbyintf(y[x]), slopes[x] = slope;
            } else {
                for (int x = 0; x < width; x += LANES) {
                    float in[LANES], add[LANES], out[LANES], steep[LANES];
                    int whole = width - x >= LANES, count = whole ? LANES : width - x;
                    if (!whole) memcpy(in, y + x, sizeof(float) * count), memcpy(add, noise + x, sizeof(float) * count);
                    v16 first, second, given = load(whole ? y + x : in), more = load(whole ? noise + x : add);
                    v16 once = soft_round(given, temperature, norm, &first);
                    v16 twice = soft_round(once + amount * more, temperature, norm, &second);
                    store(whole ? to + x : out, twice);
                    store(whole ? slopes + x : steep, first * second);
                    if (whole) continue;
                    memcpy(to + x, out, sizeof(float) * count);
                    memcpy(slopes + x, steep, sizeof(float) * count);
                }
                noise += width;
            }
            y += width;
        }
    }
}

/* The cost of latents y and weights, bits / pixels + lambda * mean squared error, with its gradients.
 *
 * noise: NULL for rounded latents. y_grad, grad: NULL where none are wanted. results: bits, mean squared error. */
void overfitted_cost(Fit *fit, const float *y, const Weights *w, const float *noise, float temperature, float amount,
                     float slope, float lambda, int turn, float *y_grad, Weights *grad, double *results) {
    float pixels = (float)fit->height * fit->width;
    quantise(fit, y, noise, temperature, amount, slope);
    synthesise(fit, w, turn >= 0);
    if (grad) {
        memset(grad, 0, sizeof(*grad));
        results[1] = synthesise_back(fit, w, grad, lambda / (COLOURS * pixels), turn);
        results[0] = rate_back(fit, w, grad, 1.0f / pixels, turn);
        for (int k = 0; k < GRIDS; k++) {
            Level *level = &fit->levels[k];
            for (int r = 0; r < level->height; r++) {
                const float *g = plane(level, level->grads, 0) + (size_t)r * level->stride;
                const float *slopes = level->slope + (size_t)r * level->width;
                for (int x = 0; x < level->width; x++) *y_grad++ = g[x] * slopes[x];
            }
        }
    } else {
        double error = 0;
        for (int c = 0; c < COLOURS; c++)
            for (int r = 0; r < fit->height; r++) {
                const float *a = image(fit, fit->images[2], c) + (size_t)r * fit->image_stride;
                const float *b = image(fit, fit->target, c) + (size_t)r * fit->image_stride;
                float sum = 0;
                for (int x = 0; x < fit->width; x++) sum += (a[x] - b[x]) * (a[x] - b[x]);
                error += sum;
            }
        results[1] = error;
        results[0] = rate_of(fit, w);
    }
    results[1] /= COLOURS * (double)pixels;
}

/* A step of Adam (Kingma and Ba 2015). first, second: moments; rates: the step's length and both corrections. */
void overfitted_adam(int64_t count, float *y, const float *grad, float *first, float *second, float length,
                     float beta1, float beta2, float correct1, float correct2) {
    for (int64_t i = 0; i < count; i++) {
        first[i] = beta1 * first[i] + (1 - beta1) * grad[i];
        second[i] = beta2 * second[i] + (1 - beta2) * grad[i] * grad[i];
        y[i] -= length * (first[i] * correct1) / (sqrtf(second[i] * correct2) + 1e-8f);
    }
}

/* Latents y, already whole, and weights -> (height, width, COLOURS) in units of 1, not clipped. */
void overfitted_render(Fit *fit, const float *y, const Weights *w, float *out) {
    quantise(fit, y, NULL, 0, 0, 0);
    synthesise(fit, w, 0);
    for (int c = 0; c < COLOURS; c++)
        for (int r = 0; r < fit->height; r++)
            for (int x = 0; x < fit->width; x++)
                out[((size_t)r * fit->width + x) * COLOURS + c] =
                    image(fit, fit->images[2], c)[(size_t)r * fit->image_stride + x];
}

/* See decode_all. */
int overfitted_decode(int height, int width, const FixedContext *w, const uint32_t *starts, const uint32_t *words,
                      int64_t count, int32_t *latents) {
    return decode_all(height, width, w, starts, words, count, latents);
}
