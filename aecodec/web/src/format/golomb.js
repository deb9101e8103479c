// Exponential Golomb codes of signed whole numbers, read bit by bit (aecodec/coding/golomb.py).

import { BitstreamError } from "./errors.js";

/** Zeros before the leading one of a code, at most. */
const LONGEST = 24;

/** Reads codes one after another, from the first bit of bytes on. */
export class GolombReader {
  constructor(data) {
    this.data = data;
    this.at = 0;
  }

  /** The next numbers, of one order. Throws BitstreamError where the bits end, or a code is longer than any written. */
  numbers(order, count) {
    return Array.from({ length: count }, () => {
      let zeros = 0;
      while (!this.bit()) if (++zeros > LONGEST) this.refuse();
      // Doubles, since the longest code has 40 bits.
      let number = 1;
      for (let n = zeros + order; n > 0; n--) number = 2 * number + this.bit();
      number -= 2 ** order;
      return number % 2 ? -(number + 1) / 2 : number / 2;
    });
  }

  /** Whether nothing is left but zeros to the end of a byte. */
  get atEnd() {
    const left = 8 * this.data.length - this.at;
    return left < 8 && (this.data.at(-1) & ((1 << left) - 1)) === 0;
  }

  bit() {
    if (this.at === 8 * this.data.length) this.refuse();
    const bit = (this.data[this.at >>> 3] >> (7 - (this.at & 7))) & 1;
    this.at += 1;
    return bit;
  }

  refuse() {
    throw new BitstreamError("a number is cut off or too long");
  }
}
