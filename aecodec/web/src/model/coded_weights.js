// Weights that a file tells by int8 codes and a scale for each row (aecodec/zoo/coded_weights.py): here they become the
// float16 tensors that they stand for, bit for bit.

import { CheckpointError } from "../format/errors.js";

/** The tensors of a file as `readStored` has them -> those of the model. Throws CheckpointError for codes that fit none. */
export function decodedWeights(tensors) {
  const whole = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    const [, kind, told] = /^(codes|scales)\/(.*)$/s.exec(name) ?? [];
    if (kind === undefined) whole[name] = tensor;
    else if (Object.hasOwn(tensors, told) || !Object.hasOwn(tensors, (kind === "codes" ? "scales/" : "codes/") + told)) {
      throw new CheckpointError("its codes and scales are not of the same tensors, once each");
    } else if (kind === "codes") whole[told] = decoded(tensor, tensors[`scales/${told}`], told);
  }
  return whole;
}

function decoded(codes, scales, name) {
  const [rows, ...others] = codes.shape;
  const fits = codes.type === "I8" && scales.type === "F32" && others.length > 0;
  if (!fits || scales.shape.length !== 1 || scales.shape[0] !== rows || !scales.data.every((scale) => scale > 0)) {
    throw new CheckpointError(`the codes and scales of ${JSON.stringify(name).slice(0, 80)} are garbled`);
  }
  const row = codes.data.length / rows;
  const data = Uint16Array.from(codes.data, (code, n) => halfOf(Math.fround(code * scales.data[Math.floor(n / row)])));
  return { type: "F16", shape: codes.shape, bytes: new Uint8Array(data.buffer), data };
}

/** A float32 -> the bits of the nearest float16, of the even one of two; beyond the largest, of infinity. */
export function halfOf(value) {
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return value < 0 ? 0xfc00 : 0x7c00;
  word.setFloat32(0, magnitude);
  // The exponent of its unit in the last place: of the smallest normal numbers below those.
  const exponent = Math.max((word.getUint32(0) >> 23) - 127, -14);
  const units = magnitude * 2 ** (10 - exponent);
  let rounded = Math.round(units);
  if (rounded - units === 0.5 && rounded % 2) rounded -= 1;
  // Normal numbers have 1024 units or more, and so their exponent from there, as a carry has the next.
  return (value < 0 ? 0x8000 : 0) | (((exponent + 14) << 10) + rounded);
}

const word = new DataView(new ArrayBuffer(4));
