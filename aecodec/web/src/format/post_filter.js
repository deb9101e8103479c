// The filter by which a decoded picture is brought nearer to its original (aecodec/coding/post_filter.py, where the
// format is told).

import { BitstreamError } from "./errors.js";
import { GolombReader } from "./golomb.js";

/** Pixels beyond its own place that the filter looks at. */
export const REACH = 2;
export const SIDE = 2 * REACH + 1;
const PAIRS = (SIDE * SIDE - 1) / 2;
const MOST = 1 << 15;
const HEAD = 3;

/**
 * Data of the chunk -> {planes, weights, biases}: the filter as a convolution of as many planes, Float32Array of
 * (out, in, SIDE, SIDE) and (out). Throws BitstreamError.
 */
export function unpackFilter(data) {
  const planes = data[0];
  if (data.length <= HEAD || (planes !== 1 && planes !== 3)) {
    throw new BitstreamError(`the post filter is not valid (${data.length} bytes)`);
  }
  const reader = new GolombReader(data.subarray(HEAD));
  const taps = weightsOf(reader, data[1], planes * planes * PAIRS);
  const own = weightsOf(reader, data[2], planes * planes);
  if (!reader.atEnd) throw new BitstreamError("the post filter ends in bits that stand for nothing");
  return { planes, ...convolution(taps, own, planes) };
}

/** The next weights. head: of their step and code. */
function weightsOf(reader, head, count) {
  let numbers;
  try {
    numbers = reader.numbers(head & 15, count);
  } catch (error) {
    throw error instanceof BitstreamError ? new BitstreamError(`the post filter is damaged: ${error.message}`) : error;
  }
  if (numbers.some((number) => Math.abs(number) > MOST)) {
    throw new BitstreamError(`a weight of the post filter is beyond ${MOST} steps`);
  }
  return numbers.map((number) => number / 2 ** (head >> 4));
}

function convolution(taps, own, planes) {
  const weights = new Float32Array(own.length * SIDE * SIDE);
  const biases = new Float32Array(planes);
  own.forEach((weight, n) => {
    const [row, column] = [Math.floor(n / planes), n % planes];
    const pairs = taps.slice(n * PAIRS, (n + 1) * PAIRS);
    const middle = weight + Number(row === column) - 2 * pairs.reduce((sum, tap) => sum + tap, 0);
    weights.set([...pairs, middle, ...pairs.reverse()], n * SIDE * SIDE);
  });
  // Sums of whole steps, exact until the last.
  for (let row = 0; row < planes; row++) {
    biases[row] = -0.5 * own.slice(row * planes, (row + 1) * planes).reduce((sum, weight) => sum + weight, 0);
  }
  return { weights, biases };
}
