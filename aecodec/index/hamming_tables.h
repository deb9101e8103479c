/* Radius search through tables of parts of the codes (multi-index hashing): look up, compare in full, keep each once. */
#include "hamming.h"

/* A part: bits [start, stop) of the codes, at most 32 of them. A code within the radius differs in at most `most` of
 * them in one part at least. order: rows by the part's value, begins: where each value's rows are; masks: all values
 * with at most `most` ones. */
typedef struct {
    int64_t start, stop, most, n_masks;
    const uint32_t *order, *begins, *masks;
} part;

static uint64_t part_bits(const uint64_t *words, const part *p) {
    int64_t word = p->start / 64, shift = p->start % 64;
    uint64_t bits = words[word] >> shift;
    if (p->stop > (word + 1) * 64) bits |= words[word + 1] << (64 - shift); /* then shift is not 0 */
    return bits & ((1ull << (p->stop - p->start)) - 1);
}

/* Takes what the tables of one part hold for one query. Gives up beyond a budget of candidates: a scan is cheaper. */
static void look_up(scan *s, int64_t q, int64_t radius, const part *parts, int64_t which, uint64_t *differing) {
    const part *p = parts + which;
    const uint64_t *query = s->queries + q * s->words;
    uint64_t value = part_bits(query, p);
    for (int64_t m = 0; m < p->n_masks; m++) {
        uint64_t bucket = value ^ p->masks[m];
        s->budget -= p->begins[bucket + 1] - p->begins[bucket];
        if (s->budget < 0) s->failed = TOO_DEAR;
        if (s->failed) return;
        for (uint32_t i = p->begins[bucket], end = p->begins[bucket + 1]; i < end; i++) {
            if (i + AHEAD < end) __builtin_prefetch(s->codes + p->order[i + AHEAD] * s->bytes);
            int64_t row = p->order[i], distance = 0;
            for (int64_t w = 0; w < s->words; w++) {
                int64_t left = s->bytes - 8 * w;
                differing[w] = 0;
                memcpy(differing + w, s->codes + row * s->bytes + 8 * w, left < 8 ? left : 8);
                differing[w] ^= query[w];
                distance += __builtin_popcountll(differing[w]);
            }
            if (distance > radius) continue;
            int again = 0; /* an earlier part has found it already */
            for (int64_t o = 0; o < which && !again; o++)
                again = __builtin_popcountll(part_bits(differing, parts + o)) <= parts[o].most;
            if (!again) take(s, q, row, distance);
        }
    }
}
