// Scale indices that follow a picture: what was decoded of a tile moves the indices of what comes after it
// (aecodec/latents/adaptation.py, where the method and its source are told).

import { cellsOfStep, PHASES, STEPS } from "./context.js";
import { LEVELS } from "./exact.js";

const MAGNITUDE_MAX = 255;
/** Bits after the binary point of an estimate as an offset of an index, and of a weight. */
const RATIO_FRACTION = 7;
const WEIGHT_FRACTION = 7;
/** A sum of U times this is divided by a sum of J: 2^(7 + 18 - 14). */
const RATIO_SCALE = 2 ** 11;
const SCORE_MAX = 3 << 14;
export const INFORMATION_MAX = 1 << 16;
const RATIO_MAX = 1 << 12;
const NEIGHBOURS = 12;
const SUMMED = 1 << 14;
/** No sum that is formed in int32 may reach this. */
export const SUM_BOUND = 2 ** 31;
/** The estimates: the same channel around a latent, all channels at its place, its channel so far. */
export const ESTIMATES = 3;

/** gain, mean, information: Int32Array (LEVELS); prior: Int32Array (ESTIMATES); weights: Int32Array (knots, 3, 4). */
export class Adaptation {
  constructor({ gain, mean, information, prior, weights }) {
    Object.assign(this, { information, prior, weights });
    /** U by index and magnitude; J is `information` by index. gain * 255 is below 2^39: exact in float64. */
    this.scores = new Int32Array(LEVELS * (MAGNITUDE_MAX + 1));
    for (let key = 0; key < this.scores.length; key++) {
      const score = gain[key >> 8] * (key & 255) - mean[key >> 8];
      this.scores[key] = Math.min(Math.max(score, -SCORE_MAX), SCORE_MAX);
    }
  }

  /** Largest magnitude of any sum in int32, whatever is decoded. */
  bound() {
    const score = this.scores.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const information = Math.max(...this.information);
    let largest = NEIGHBOURS * score * RATIO_SCALE;
    largest = Math.max(largest, NEIGHBOURS * information + Math.max(...this.prior), SUMMED * Math.max(score, information));
    for (let n = 0; n < this.weights.length; n += 1 + ESTIMATES) {
      const [constant, ...weights] = Array.from(this.weights.subarray(n, n + 1 + ESTIMATES), Math.abs);
      const sum = weights.reduce((a, b) => a + b);
      largest = Math.max(largest, constant + RATIO_MAX * sum + LEVELS * 2 ** (RATIO_FRACTION + WEIGHT_FRACTION));
    }
    return largest;
  }
}

/**
 * sum U * 2^11 / (prior + sum J), rounded down, as an estimate.
 *
 * Sums of U stay below 2^16 * 2^20 positions, so that the numerator is below 2^47. The quotient of two integers below
 * 2^53, rounded to float64, never reaches an integer that the true one is below: Math.floor gives the integer division.
 */
function ratio(score, information, prior) {
  const quotient = Math.floor((score * RATIO_SCALE) / (information + prior));
  return Math.min(Math.max(quotient, -RATIO_MAX), RATIO_MAX);
}

/** The four steps through one tile: indices of a step are to be had once the symbols of those before it are known. */
export class Walk {
  /** index: Uint8 planes (N, H, W), as the scale net gives it. */
  constructor(adaptation, index, quality, stepsPerKnot) {
    this.adaptation = adaptation;
    this.index = index;
    this.cells = cellsOfStep(index, 0);
    const knot = Math.floor((2 * quality + stepsPerKnot) / (2 * stepsPerKnot));
    const stride = (STEPS - 1) * (1 + ESTIMATES);
    this.weights = adaptation.weights.subarray(knot * stride, (knot + 1) * stride);
    this.size = this.cells.height * this.cells.width;
    /** Of each step that is known, U and J of every latent; sums of both at each place by phase, and of each channel. */
    this.known = [];
    this.places = PHASES.map(() => ({ score: new Float64Array(this.size), information: new Float64Array(this.size) }));
    this.channels = {
      score: new Float64Array(index.channels),
      information: new Float64Array(index.channels),
    };
  }

  /** Uint8Array: indices of the next step; 0 where the scale net says 0, and from 1 up everywhere else. */
  indices() {
    const step = this.known.length;
    if (!step) return this.cells.data;
    const { size } = this;
    const [prior0, prior1, prior2] = this.adaptation.prior;
    const [constant, around, atPlace, ofChannel] = this.weights.subarray((step - 1) * 4, step * 4);
    const places = this.places.map(({ score, information }) =>
      Int32Array.from(score, (value, n) => Math.imul(ratio(value, information[n], prior1), atPlace)),
    );
    const half = 1 << (RATIO_FRACTION + WEIGHT_FRACTION - 1);
    const adapted = new Uint8Array(this.cells.data.length);
    const score = new Int32Array(size);
    const information = new Int32Array(size);
    for (let channel = 0; channel < this.index.channels; channel++) {
      this.gather(channel, step, score, information);
      const place = places[((channel % STEPS) + step) % STEPS];
      const own = ratio(this.channels.score[channel], this.channels.information[channel], prior2);
      const base = Math.imul(own, ofChannel) + constant + half;
      for (let n = 0, at = channel * size; n < size; n++, at++) {
        const index = this.cells.data[at];
        if (!index) continue;
        const sum = Math.imul(ratio(score[n], information[n], prior0), around) + place[n] + base;
        adapted[at] = Math.min(Math.max((sum >> (RATIO_FRACTION + WEIGHT_FRACTION)) + index, 1), LEVELS - 1);
      }
    }
    return adapted;
  }

  /** Sums of U and J of a channel's known latents around each of the next step: weights 1, 2, 1 along either axis. */
  gather(channel, step, score, information) {
    const { height, width } = this.cells;
    score.fill(0);
    information.fill(0);
    const [row, column] = PHASES[((channel % STEPS) + step) % STEPS];
    this.known.forEach((known, earlier) => {
      const [fromRow, fromColumn] = PHASES[((channel % STEPS) + earlier) % STEPS];
      const start = channel * this.size;
      const end = start + this.size;
      // The other one of the own pair lies on one side, that of a neighbouring pair on the other.
      const rows = fromRow === row ? 0 : row ? 1 : -1;
      const columns = fromColumn === column ? 0 : column ? 1 : -1;
      addGathered(score, known.score.subarray(start, end), height, width, rows, columns);
      addGathered(information, known.information.subarray(start, end), height, width, rows, columns);
    });
  }

  /** symbols: Int32Array, the residuals of the next step. */
  learn(symbols) {
    const step = this.known.length;
    if (step === STEPS - 1) return;
    const { size, adaptation } = this;
    const known = { score: new Int32Array(symbols.length), information: new Int32Array(symbols.length) };
    for (let channel = 0; channel < this.index.channels; channel++) {
      const place = this.places[((channel % STEPS) + step) % STEPS];
      for (let n = 0, at = channel * size; n < size; n++, at++) {
        const index = this.cells.data[at];
        const score = adaptation.scores[(index << 8) | Math.min(Math.abs(symbols[at]), MAGNITUDE_MAX)];
        const information = adaptation.information[index];
        known.score[at] = score;
        known.information[at] = information;
        place.score[n] += score;
        place.information[n] += information;
        this.channels.score[channel] += score;
        this.channels.information[channel] += information;
      }
    }
    this.known.push(known);
    this.cells = cellsOfStep(this.index, step + 1);
  }
}

/**
 * Adds to sums (height, width) those of x at each cell and its neighbour, in a direction of rows and in one of columns;
 * direction 0: the latents lie in the same row (column), which counts twice.
 */
function addGathered(sums, x, height, width, rows, columns) {
  for (let row = 0; row < height; row++) {
    addRow(sums, x, row, row, width, columns, rows === 0 ? 2 : 1);
    if (rows && row + rows >= 0 && row + rows < height) addRow(sums, x, row, row + rows, width, columns, 1);
  }
}

function addRow(sums, x, row, source, width, columns, times) {
  const target = row * width;
  const from = source * width;
  const weight = columns === 0 ? 2 * times : times;
  for (let n = 0; n < width; n++) sums[target + n] += weight * x[from + n];
  if (!columns) return;
  const first = columns < 0 ? 1 : 0;
  const last = columns < 0 ? width : width - 1;
  for (let n = first; n < last; n++) sums[target + n] += weight * x[from + n + columns];
}

