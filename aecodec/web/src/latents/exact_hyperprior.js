// The latents of the family exact-hyperprior: hyper-latents z, whose integers choose the tables of y, and means in four
// steps (aecodec/latents/exact_hyperprior.py).

import { CheckpointError } from "../format/errors.js";
import { PlaneDecoder } from "../format/rans.js";
import { floats } from "../model/stored.js";
import { Adaptation, ESTIMATES, INFORMATION_MAX, SUM_BOUND, Walk } from "./adaptation.js";
import { putStep, stepMap, STEPS } from "./context.js";
import { EXACT_BOUND, ExactConv, INDEX_LIMIT, LEVELS, ScaleIndices } from "./exact.js";
import { planes } from "./planes.js";

export const FAMILY = "exact-hyperprior";
const STRIDE = 16;
export const HYPER_STRIDE = 4;
const QUALITY_KNOT = 100;
const QUALITY_KNOTS = 11;
/** What the outputs of the scale net's layers are clamped to, and those after which its sides double. */
const SCALE_RANGES = [...new Array(6).fill([0, 255]), [-INDEX_LIMIT, INDEX_LIMIT]];
const UPSAMPLE_AFTER = [2, 4];
const MAX_SHIFT = 40;
const MAX_LOG_GAIN = 40;

/** A family's part of a checkpoint that nothing but integers decides. Sides are in latent positions. */
export class ExactHyperpriorCoder {
  /** stored: as `readStored` gives it. Throws CheckpointError for parts that are missing or do not fit, and for a model
   * whose exact part could leave the range in which its arithmetic is exact. */
  constructor(stored) {
    const { config, tensors } = stored;
    this.stride = STRIDE;
    this.alignment = STRIDE * HYPER_STRIDE;
    this.meanReach = 12;
    this.latents = count(config, "latents");
    this.hyperLatents = count(config, "hyper_latents");
    const blocks = Math.max(count(config, "analysis_blocks"), count(config, "synthesis_blocks"));
    this.context = Math.floor((blocks + 1) / 2) + 1;
    this.scaleIndices = readScaleNet(tensors, count(config, "z_max"));
    const first = this.scaleIndices.layers[0];
    if (first.incoming !== this.hyperLatents || this.scaleIndices.channels !== this.latents) {
      throw new CheckpointError("its scale net leads from and to other channels");
    }
    this.gains = { y_inverse: this.latents, branch_out: count(config, "channels") };
    for (const [name, width] of Object.entries(this.gains)) {
      this.gains[name] = { width, knots: floats(expected(tensors, name, [QUALITY_KNOTS, width]), name) };
      if (this.gains[name].knots.some((value) => Math.abs(value) > MAX_LOG_GAIN)) {
        throw new CheckpointError(`${name} holds a value beyond ${MAX_LOG_GAIN}`);
      }
    }
    this.tables = { y: stored.tables.y, z: stored.tables.z };
    if (this.tables.y?.count !== LEVELS || !this.tables.y.escape) {
      throw new CheckpointError(`${LEVELS} tables with escape code its y`);
    }
    if (this.tables.z?.count !== QUALITY_KNOTS * this.hyperLatents || this.tables.z.escape) {
      throw new CheckpointError(`${QUALITY_KNOTS * this.hyperLatents} tables without escape code its z`);
    }
    this.adaptation = readAdaptation(tensors);
    const sums = this.scaleIndices.bound();
    if (!(sums < EXACT_BOUND)) throw new CheckpointError(`the scale net can reach ${sums}`);
    if (this.adaptation && !(this.adaptation.bound() < SUM_BOUND)) {
      throw new CheckpointError(`the adaptation can reach ${this.adaptation.bound()}`);
    }
  }

  /**
   * Bytes of a tile of (height, width) latent positions at a quality step -> its integers, {y, z}: Int32 planes of
   * residuals (N, H, W) and hyper-latents (Z, H / 4, W / 4). Throws BitstreamError.
   */
  decodeTile(data, quality, height, width) {
    const decoder = new PlaneDecoder(data);
    const z = planes(Int32Array, this.hyperLatents, height / HYPER_STRIDE, width / HYPER_STRIDE);
    const knot = Math.floor((2 * quality + QUALITY_KNOT) / (2 * QUALITY_KNOT));
    const size = z.height * z.width;
    const which = z.data.map((_, place) => knot * z.channels + Math.floor(place / size));
    z.data = decoder.pop(which, this.tables.z);
    const index = this.scaleIndices.run(z, quality);
    const y = planes(Int32Array, this.latents, height, width);
    if (this.adaptation) {
      const walk = new Walk(this.adaptation, index, quality, QUALITY_KNOT);
      for (let step = 0; step < STEPS; step++) {
        const symbols = decoder.pop(walk.indices(), this.tables.y, { silent: true });
        walk.learn(symbols);
        putStep(y, step, symbols);
      }
    } else {
      y.data = decoder.pop(index.data, this.tables.y, { silent: true });
    }
    decoder.finish();
    return { y, z };
  }

  /** Integers at a quality step -> Float32 planes y_hat (N, H, W), by the network "dequantiser". */
  async dequantise(networks, { y, z }, quality) {
    const shape = [1, y.channels, y.height, y.width];
    const out = await networks.run("dequantiser", shape, {
      z: [Float32Array.from(z.data), [1, z.channels, z.height, z.width]],
      residual: [Float32Array.from(y.data), shape],
      steps: [stepMap(y.channels, y.height, y.width), shape],
    });
    const gain = this.gain("y_inverse", quality);
    const size = y.height * y.width;
    for (let place = 0; place < out.length; place++) out[place] *= gain[Math.floor(place / size)];
    return { data: out, channels: y.channels, height: y.height, width: y.width };
  }

  /** y_hat -> Float32 planes (3, 16 H, 16 W), by the network "synthesis"; not clipped. */
  async synthesise(networks, yHat, quality) {
    const [height, width] = [STRIDE * yHat.height, STRIDE * yHat.width];
    const gain = this.gain("branch_out", quality);
    const data = await networks.run("synthesis", [1, 3, height, width], {
      y_hat: [yHat.data, [1, yHat.channels, yHat.height, yHat.width]],
      gain: [gain, [1, gain.length]],
    });
    return { data, channels: 3, height, width };
  }

  /** Gains (Float32Array) at a quality step, linear in log between two knots. */
  gain(name, quality) {
    const { width, knots } = this.gains[name];
    const position = Math.fround(quality / QUALITY_KNOT);
    const low = Math.min(Math.floor(position), QUALITY_KNOTS - 2);
    return Float32Array.from({ length: width }, (_, n) => {
      const [a, b] = [knots[low * width + n], knots[(low + 1) * width + n]];
      return Math.exp(a + (position - low) * (b - a));
    });
  }
}

function count(config, name) {
  if (!Number.isInteger(config[name]) || config[name] < 1) {
    throw new CheckpointError(`${name} of its configuration is a whole number from 1 up`);
  }
  return config[name];
}

/** A tensor of a shape and a type. Throws CheckpointError for one that is missing or another, or beyond a magnitude. */
function expected(tensors, name, shape, Kind = null, largest = Infinity) {
  const found = tensors[name];
  const fits = found && (!shape || found.shape.join() === shape.join()) && (!Kind || found.data instanceof Kind);
  if (!fits) throw new CheckpointError(`${name} is missing or of another shape or type`);
  if (Kind && found.data.some((value) => Math.abs(value) > largest)) {
    throw new CheckpointError(`${name} holds a value beyond ${largest}`);
  }
  return found;
}

function readScaleNet(tensors, zMax) {
  const layers = [];
  let channels = null;
  SCALE_RANGES.forEach(([low, high], index) => {
    const layer = `scale_net.layers.${index}.`;
    const weight = expected(tensors, `${layer}weight_q`, null, Int8Array);
    const [outgoing, incoming, ...sides] = weight.shape;
    const depthwise = sides.join() === "3,3" && incoming === 1;
    if (!outgoing || !(depthwise || sides.join() === "1,1")) {
      throw new CheckpointError(`${layer}weight_q is of shape ${weight.shape}`);
    }
    if (channels !== null && channels !== (depthwise ? outgoing : incoming)) {
      throw new CheckpointError(`${layer}weight_q of shape ${weight.shape} follows ${channels} channels`);
    }
    const bias = expected(tensors, `${layer}bias_q`, [outgoing], Int32Array).data;
    const shift = expected(tensors, `${layer}shift_q`, [outgoing], Int32Array, MAX_SHIFT).data;
    const inMax = index ? SCALE_RANGES[index - 1][1] : zMax;
    layers.push(new ExactConv({ weight: weight.data, bias, shift, outgoing, incoming, depthwise, inMax, low, high }));
    const upsampled = UPSAMPLE_AFTER.includes(index);
    if (upsampled && outgoing % 4) throw new CheckpointError(`${layer}weight_q makes no cells of 2 x 2`);
    channels = upsampled ? outgoing / 4 : outgoing;
  });
  const offset = expected(tensors, "scale_net.offset_q", [QUALITY_KNOTS, channels], Int32Array).data;
  return new ScaleIndices(layers, UPSAMPLE_AFTER, offset, QUALITY_KNOT);
}

function readAdaptation(tensors) {
  const prefix = "adaptation.";
  if (!Object.keys(tensors).some((name) => name.startsWith(prefix))) return null;
  const part = (name, shape, largest) => expected(tensors, `${prefix}${name}_q`, shape, Int32Array, largest).data;
  const gain = part("gain", [LEVELS]);
  const mean = part("mean", [LEVELS]);
  const information = part("information", [LEVELS], INFORMATION_MAX);
  const prior = part("prior", [ESTIMATES]);
  const weights = part("weights", [QUALITY_KNOTS, STEPS - 1, 1 + ESTIMATES]);
  if (Math.min(...information) < 0 || Math.min(...prior) < 1) {
    throw new CheckpointError("information_q is at least 0 and prior_q at least 1");
  }
  if (gain[0] || mean[0] || information[0]) throw new CheckpointError("scale index 0 codes nothing, but is counted");
  return new Adaptation({ gain, mean, information, prior, weights });
}
