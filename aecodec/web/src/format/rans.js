// Bytes to symbols by asymmetric numeral systems (Duda 2013), the same integers as constriction's AnsCoder of 32-bit
// words and a 64-bit state (aecodec/coding/rans.py).

import { viewOf } from "./bytes.js";
import { BitstreamError } from "./errors.js";
import { PRECISION } from "./tables.js";

const ESCAPE_BITS = 16;
const QUANTILE = 2 ** PRECISION - 1;

/** A stack of symbols; the state is kept as two unsigned 32-bit halves. */
class AnsCoder {
  /** data: Uint8Array. Throws BitstreamError for what no coder leaves behind. */
  constructor(data) {
    if (data.length % 4) {
      throw new BitstreamError(
        `an entropy-coded payload is a whole number of 32-bit words, got ${data.length} bytes`,
      );
    }
    this.view = viewOf(data);
    this.words = data.length / 4;
    this.high = 0;
    this.low = this.words ? this.word() : 0;
    if (data.length && !this.low) throw new BitstreamError("an entropy-coded payload ends in a zero word");
    this.refill();
  }

  word() {
    this.words -= 1;
    return this.view.getUint32(4 * this.words, true);
  }

  refill() {
    if (this.high === 0 && this.words > 0) {
      this.high = this.low;
      this.low = this.word();
    }
  }

  get quantile() {
    return this.low & QUANTILE;
  }

  get isEmpty() {
    return this.high === 0 && this.low === 0;
  }

  /**
   * state = (state >> 24) * probability + remainder, then a word is taken if the state has room.
   *
   * state >> 24 has 40 bits, of which a is the upper and b the lower half of 20 bits each; probability <= 2^24 and
   * remainder < probability. Every product and sum is below 2^53, so that float64 holds it exactly: a * probability and
   * b * probability + remainder < 2^45; the new state, their sum with a shifted by 20 bits, is below 2^64.
   */
  advance(probability, remainder) {
    const { high, low } = this;
    const upper = (high >>> 12) * probability;
    const lower = ((high & 0xfff) * 256 + (low >>> 24)) * probability + remainder;
    const carry = Math.floor(upper / 4096);
    const sum = (upper - carry * 4096) * 2 ** 20 + lower;
    const over = Math.floor(sum / 2 ** 32);
    this.low = (sum - over * 2 ** 32) >>> 0;
    this.high = (carry + over) >>> 0;
    this.refill();
  }
}

/** Pops planes of symbols off the bytes of a tile, in the order in which the encoder meant them to be read. */
export class PlaneDecoder {
  constructor(data) {
    this.coder = new AnsCoder(data);
  }

  /**
   * which: the table of each symbol, an array of integers -> Int32Array of symbols.
   *
   * Symbols come sorted by table, stably, so a plane is one run for each table; then the raw bits of those that escaped
   * theirs, in the order of their places. A table of one slot codes nothing, since its symbol is certain. silent: table 0
   * means that the symbol is 0 and not coded.
   */
  pop(which, tables, { silent = false } = {}) {
    const { order, ends } = sorted(which, tables.count);
    const symbols = new Int32Array(which.length);
    let escaped = null;
    for (let table = silent ? 1 : 0, start = ends[table - 1] ?? 0; table < tables.count; start = ends[table++]) {
      if (start === ends[table]) continue;
      const offset = tables.offsets[table];
      if (tables.lengths[table] === 1) {
        for (let n = start; n < ends[table]; n++) symbols[order[n]] = offset;
        continue;
      }
      const quantiles = tables.quantilesOf(table);
      const last = tables.escape ? tables.lengths[table] - 1 : -1;
      for (let n = start; n < ends[table]; n++) {
        const slot = this.slot(quantiles);
        symbols[order[n]] = offset + slot;
        if (slot === last) (escaped ??= []).push(order[n]);
      }
    }
    if (escaped) this.unescape(symbols, escaped, which, tables);
    return symbols;
  }

  slot(quantiles) {
    const { quantile } = this.coder;
    const slot = quantiles.slotOf(quantile);
    const left = quantiles.left[slot];
    this.coder.advance(quantiles.left[slot + 1] - left, quantile - left);
    return slot;
  }

  /** Replace the symbols at the escaped places by the values that follow in raw bits: twice the distance, and the side. */
  unescape(symbols, places, which, tables) {
    const width = 2 ** (PRECISION - ESCAPE_BITS);
    for (const place of Uint32Array.from(places).sort()) {
      const { quantile } = this.coder;
      const code = Math.floor(quantile / width);
      this.coder.advance(width, quantile % width);
      const low = tables.offsets[which[place]];
      const excess = code >> 1;
      symbols[place] = code & 1 ? low - 1 - excess : low + tables.lengths[which[place]] - 1 + excess;
    }
  }

  /** Throw BitstreamError unless every bit has been used. */
  finish() {
    if (!this.coder.isEmpty) {
      throw new BitstreamError("an entropy-coded payload holds more than its tile's latents");
    }
  }
}

/** Places sorted stably by table (Uint32Array), and where each table's run ends. */
function sorted(which, count) {
  const ends = new Uint32Array(count);
  for (const table of which) ends[table] += 1;
  for (let table = 1; table < count; table++) ends[table] += ends[table - 1];
  const next = new Uint32Array(count);
  next.set(ends.subarray(0, count - 1), 1);
  const order = new Uint32Array(which.length);
  for (let place = 0; place < which.length; place++) order[next[which[place]]++] = place;
  return { order, ends };
}
