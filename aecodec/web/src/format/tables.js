// Probability tables as integers (aecodec/coding/tables.py), and their quantiles as the entropy coder sees them.

/** Sum of the frequencies of every table. */
const TOTAL = 2 ** 20;
/** Symbols lie within this distance of 0. */
const MAX_SYMBOL = 2 ** 22;
const MAX_SLOTS = 2 ** 24;
/** Bits of a quantile. */
export const PRECISION = 24;
/** Quantiles are looked up by their upper bits first. */
const BUCKET_SHIFT = 14;

/**
 * Tables of a checkpoint: table t covers the symbols offsets[t] ... offsets[t] + lengths[t] - 1; with an escape the last
 * slot of each stands for "outside", and the value follows in raw bits.
 */
export class TableSet {
  /** rows: Int32Array, one table after another; lengths, offsets: Int32Array. Throws RangeError for what no coder
   * could use. */
  constructor(rows, lengths, offsets, escape) {
    this.lengths = lengths;
    this.offsets = offsets;
    this.escape = escape;
    this.rows = rows;
    this.starts = new Int32Array(lengths.length + 1);
    this.check();
    this.quantiles = new Array(lengths.length);
  }

  get count() {
    return this.lengths.length;
  }

  check() {
    const { rows, lengths, offsets, starts } = this;
    if (!lengths.length || lengths.length !== offsets.length) {
      throw new RangeError(`${lengths.length} lengths and ${offsets.length} offsets of tables`);
    }
    for (let table = 0; table < lengths.length; table++) {
      const length = lengths[table];
      if (length < (this.escape ? 2 : 1)) throw new RangeError(`a table of ${length} slots`);
      if (Math.abs(offsets[table]) + length > MAX_SYMBOL) throw new RangeError(`symbols beyond ${MAX_SYMBOL}`);
      starts[table + 1] = starts[table] + length;
      if (starts[table + 1] > Math.min(rows.length, MAX_SLOTS)) break;
      let sum = 0;
      for (let slot = starts[table]; slot < starts[table + 1]; slot++) {
        if (rows[slot] < 1) throw new RangeError(`a frequency that is not 1 to ${TOTAL}`);
        sum += rows[slot];
      }
      if (sum !== TOTAL) throw new RangeError(`a table whose frequencies sum to ${sum}, not to ${TOTAL}`);
    }
    if (starts[lengths.length] !== rows.length) {
      throw new RangeError(`${rows.length} frequencies for other tables`);
    }
  }

  /** The quantiles of a table of two slots or more, made when it is first needed. */
  quantilesOf(table) {
    this.quantiles[table] ??= new Quantiles(this.rows.subarray(this.starts[table], this.starts[table + 1]));
    return this.quantiles[table];
  }
}

/**
 * A table's slots as intervals of [0, 2^24): slot k is left[k] ... left[k + 1] - 1.
 *
 * constriction's fast categorical model computes left[k] = floor(c * s) + k in float64, where c is the sum of the
 * frequencies before k and s = (2^24 - n) / sum. The sum is 2^20, so s has 24 bits and is exact, c has 20, their product
 * has 44 and is exact as well: the same integers in any arithmetic that holds them. The last slot ends at 2^24.
 */
class Quantiles {
  constructor(frequencies) {
    const length = frequencies.length;
    const free = 2 ** PRECISION - length;
    this.left = new Uint32Array(length + 1);
    let cumulative = 0;
    for (let slot = 0; slot < length; slot++) {
      this.left[slot] = Math.floor((cumulative * free) / TOTAL) + slot;
      cumulative += frequencies[slot];
    }
    this.left[length] = 2 ** PRECISION;
    this.buckets = new Uint16Array(1 << (PRECISION - BUCKET_SHIFT));
    let slot = 0;
    for (let bucket = 0; bucket < this.buckets.length; bucket++) {
      while (this.left[slot + 1] <= bucket << BUCKET_SHIFT) slot += 1;
      this.buckets[bucket] = slot;
    }
  }

  /** The slot that a quantile lies in. */
  slotOf(quantile) {
    const { left } = this;
    let low = this.buckets[quantile >>> BUCKET_SHIFT];
    while (left[low + 1] <= quantile) low += 1;
    return low;
  }
}
