// The scale net: a network whose results are integers, so that no device decides how bytes are read
// (aecodec/latents/exact.py).

import { cut, paste, planes } from "./planes.js";

const INDEX_FRACTION = 4;
export const INDEX_LIMIT = 1 << 12;
/** Probability tables that a scale index chooses from. */
export const LEVELS = 64;
/** Partial sums of the scale net stay below this, which is proven from its weights before it runs. */
export const EXACT_BOUND = 2 ** 24;
/** Hyper-latents of more positions than WHOLE are taken in windows of SIDE, each with what it SEES around it. */
const WHOLE = 1 << 10;
const SIDE = 32;
const SEEN = 4;

/**
 * A 1 x 1 or depthwise 3 x 3 convolution, then clamp(floor(sum * 2^-shift + 1/2), low, high).
 *
 * weight: Int8Array (out, in, 1, 1) or (C, 1, 3, 3); bias, shift: Int32Array. Sums are formed in int32: an activation is
 * at most 255 (or z's largest), a weight 128, and their sums stay below 2^24 by `bound`. The division is by a power of
 * two in float64, where all 24 bits of a sum and the half are exact for shifts up to 40.
 */
export class ExactConv {
  constructor({ weight, bias, shift, outgoing, incoming, depthwise, inMax, low, high }) {
    Object.assign(this, { weight, bias, shift, outgoing, incoming, depthwise, inMax, low, high });
  }

  /** Largest magnitude of any partial sum. */
  bound() {
    const size = this.weight.length / this.outgoing;
    let largest = 0;
    for (let channel = 0; channel < this.outgoing; channel++) {
      let norm = 0;
      for (let n = channel * size; n < (channel + 1) * size; n++) norm += Math.abs(this.weight[n]);
      const half = 2 ** Math.max(this.shift[channel] - 1, 0);
      largest = Math.max(largest, norm * this.inMax + Math.abs(this.bias[channel]) + half);
    }
    return largest;
  }

  /** Int32 planes -> Int32 planes of `outgoing` channels. */
  run(x) {
    const result = planes(Int32Array, this.outgoing, x.height, x.width);
    const size = x.height * x.width;
    for (let channel = 0; channel < this.outgoing; channel++) {
      const sums = result.data.subarray(channel * size, (channel + 1) * size);
      sums.fill(this.bias[channel]);
      if (this.depthwise) this.around(sums, x, channel);
      else this.across(sums, x, channel);
      const scale = 2 ** -this.shift[channel];
      for (let n = 0; n < size; n++) {
        sums[n] = Math.min(Math.max(Math.floor(sums[n] * scale + 0.5), this.low), this.high);
      }
    }
    return result;
  }

  across(sums, x, channel) {
    const size = sums.length;
    for (let source = 0; source < this.incoming; source++) {
      const weight = this.weight[channel * this.incoming + source];
      if (weight) addScaled(sums, x.data.subarray(source * size, (source + 1) * size), weight);
    }
  }

  around(sums, { data, height, width }, channel) {
    const start = channel * height * width;
    for (let tap = 0; tap < 9; tap++) {
      const weight = this.weight[channel * 9 + tap];
      const down = Math.floor(tap / 3) - 1;
      const right = (tap % 3) - 1;
      const [from, to] = [Math.max(-right, 0), width - Math.max(right, 0)];
      for (let row = Math.max(-down, 0); row < height - Math.max(down, 0); row++) {
        const target = row * width;
        const source = start + (row + down) * width + right;
        for (let column = from; column < to; column++) sums[target + column] += weight * data[source + column];
      }
    }
  }
}

function addScaled(sums, source, weight) {
  for (let n = 0; n < sums.length; n++) sums[n] += Math.imul(weight, source[n]);
}

/** (4 C, H, W) -> (C, 2 H, 2 W): four channels become the places of a cell of 2 x 2. */
function pixelShuffle({ data, channels, height, width }) {
  const result = planes(Int32Array, channels / 4, 2 * height, 2 * width);
  let place = 0;
  for (let channel = 0; channel < channels; channel++) {
    const [row, column] = [(channel >> 1) & 1, channel & 1];
    for (let y = 0; y < height; y++) {
      const start = ((channel >> 2) * 2 * height + 2 * y + row) * 2 * width + column;
      for (let x = 0; x < width; x++) result.data[start + 2 * x] = data[place++];
    }
  }
  return result;
}

/** Hyper-latents and a quality step -> which table codes each latent. */
export class ScaleIndices {
  /** layers: of ExactConv; upsampleAfter: indices of those whose output is shuffled; offset: Int32Array (knots, N). */
  constructor(layers, upsampleAfter, offset, stepsPerKnot) {
    Object.assign(this, { layers, upsampleAfter, offset, stepsPerKnot });
    this.channels = layers[layers.length - 1].outgoing;
  }

  bound() {
    return Math.max(...this.layers.map((layer) => layer.bound()));
  }

  /** z: Int32 planes (Z, h, w) -> Uint8 planes (N, 4h, 4w), each value from 0 to LEVELS - 1. */
  run(z, quality) {
    const { height, width } = z;
    if (height * width <= WHOLE) return this.indices(z, quality);
    const found = planes(Uint8Array, this.channels, 4 * height, 4 * width);
    for (let top = 0; top < height; top += SIDE) {
      for (let left = 0; left < width; left += SIDE) {
        const [above, before] = [Math.max(top - SEEN, 0), Math.max(left - SEEN, 0)];
        const [bottom, right] = [Math.min(top + SIDE, height), Math.min(left + SIDE, width)];
        const seen = [above, before, Math.min(bottom + SEEN, height), Math.min(right + SEEN, width)];
        const part = this.indices(cut(z, ...seen), quality);
        const inner = cut(part, 4 * (top - above), 4 * (left - before), 4 * (bottom - above), 4 * (right - before));
        paste(found, inner, 4 * top, 4 * left);
      }
    }
    return found;
  }

  indices(z, quality) {
    let x = z;
    this.layers.forEach((layer, index) => {
      x = layer.run(x);
      if (this.upsampleAfter.includes(index)) x = pixelShuffle(x);
    });
    const result = planes(Uint8Array, x.channels, x.height, x.width);
    const size = x.height * x.width;
    for (let channel = 0; channel < x.channels; channel++) {
      const offset = this.offsetOf(channel, quality) + (1 << (INDEX_FRACTION - 1));
      for (let n = channel * size; n < (channel + 1) * size; n++) {
        const index = Math.floor((x.data[n] + offset) / (1 << INDEX_FRACTION));
        result.data[n] = Math.min(Math.max(index, 0), LEVELS - 1);
      }
    }
    return result;
  }

  /** A channel's offset at a quality step, linear between two knots. Numbers below 2^31 * 100 * 2: exact in float64. */
  offsetOf(channel, quality) {
    const { channels, offset, stepsPerKnot: per } = this;
    const knots = offset.length / channels;
    const knot = Math.min(Math.floor(quality / per), knots - 2);
    const share = quality - knot * per;
    const low = offset[knot * channels + channel];
    const high = offset[(knot + 1) * channels + channel];
    return Math.floor((2 * (low * (per - share) + high * share) + per) / (2 * per));
  }
}
