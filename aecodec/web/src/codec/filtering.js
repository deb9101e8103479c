// The filter of a decoded picture at work (aecodec/engine/filtering.py).

import { REACH, SIDE } from "../format/post_filter.js";
import { planes } from "../latents/planes.js";

/**
 * An area (a `Window`) of Float32 planes, filtered; what lies beyond the planes' borders is as their borders are.
 * weights, biases: see `unpackFilter`, for as many planes.
 */
export function filtered(plane, area, { weights, biases }) {
  const { channels } = plane;
  const { data, height, width } = grown(plane, area);
  const result = planes(Float32Array, channels, area.height, area.width);
  const sums = new Float64Array(result.width);
  for (let row = 0; row < result.height; row++) {
    for (let out = 0; out < channels; out++) {
      sums.fill(biases[out]);
      for (let n = 0; n < channels * SIDE; n++) {
        const line = Math.floor(n / SIDE) * height + row + (n % SIDE);
        addLine(sums, data, line * width, weights, (out * channels * SIDE + n) * SIDE);
      }
      result.data.set(sums, (out * result.height + row) * result.width);
    }
  }
  return result;
}

/** Add SIDE neighbours of each place of a line, which starts at `start`, with the weights from `k` on. */
function addLine(sums, data, start, weights, k) {
  // Element by element: taken apart as iterables, they would take longer than the sums.
  const [w0, w1, w2] = [weights[k], weights[k + 1], weights[k + 2]];
  const [w3, w4] = [weights[k + 3], weights[k + 4]];
  let [p0, p1, p2, p3] = [data[start], data[start + 1], data[start + 2], data[start + 3]];
  for (let n = 0, next = start + SIDE - 1; n < sums.length; n++, next++) {
    const p4 = data[next];
    sums[n] += w0 * p0 + w1 * p1 + w2 * p2 + w3 * p3 + w4 * p4;
    p0 = p1;
    p1 = p2;
    p2 = p3;
    p3 = p4;
  }
}

/** An area with REACH pixels more on every side. */
function grown({ data, channels, height, width }, { top, left, bottom, right }) {
  const result = planes(Float32Array, channels, bottom - top + 2 * REACH, right - left + 2 * REACH);
  const [from, to] = [Math.max(left - REACH, 0), Math.min(right + REACH, width)];
  let place = 0;
  for (let channel = 0; channel < channels; channel++) {
    for (let row = top - REACH; row < bottom + REACH; row++) {
      const start = (channel * height + Math.min(Math.max(row, 0), height - 1)) * width;
      const [first, end] = [place + from - (left - REACH), place + to - (left - REACH)];
      result.data.fill(data[start], place, first);
      result.data.set(data.subarray(start + from, start + to), first);
      place += result.width;
      result.data.fill(data[start + width - 1], end, place);
    }
  }
  return result;
}
