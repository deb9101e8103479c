// What a checkpoint's file holds, as typed arrays (aecodec/zoo/stored.py): the safetensors file that the Python side reads,
// or the part of it that decoding needs, with weights, probability tables and, without weights, the graphs of its networks.

import { viewOf } from "../format/bytes.js";
import { CheckpointError } from "../format/errors.js";
import { TableSet } from "../format/tables.js";
import { decodedWeights } from "./coded_weights.js";
import { fingerprintOf } from "./fingerprint.js";

/** A checkpoint, and the part of one that decodes -> the field of its header that is the fingerprint of its content. */
const FORMATS = { "aecodec-checkpoint-1": "fingerprint", "aecodec-decoder-1": "part" };
const HEADER_LIMIT = 16 * 2 ** 20;
/** Types of a safetensors file -> the array that holds one. float16 is widened by `floats`. */
const TYPES = {
  F16: Uint16Array,
  F32: Float32Array,
  F64: Float64Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
  I16: Int16Array,
  I32: Int32Array,
  I64: BigInt64Array,
};

/**
 * Bytes of a checkpoint -> {name, family, config, fingerprint, tensors, tables, graphs}.
 *
 * tensors: by name {type, shape, data, bytes}; tables: of TableSet; graphs: ONNX models as bytes, by the network's name.
 * Throws CheckpointError for a file that is damaged, that holds changes of another model, or whose content is not that of
 * its fingerprint where the browser can hash (it can where pages come by https or from this machine).
 */
export async function readStored(data) {
  const { metadata, tensors: held } = readTensors(data);
  if (metadata.base) {
    throw new CheckpointError(
      `the model is told by changes of another, which browsers do not put together; the part that decodes is what ` +
        `\`aecodec web\` writes`,
    );
  }
  const stored = { name: metadata.name, family: metadata.family, fingerprint: metadata.fingerprint };
  stored.config = parsed(metadata.config, "config");
  const graphs = taken(held, "graphs/");
  const tensors = decodedWeights(held);
  const found = await fingerprintOf(metadata, tensors);
  const told = metadata[FORMATS[metadata.format]];
  if (found !== null && found !== told) {
    throw new CheckpointError(`the model's content has fingerprint ${found}, its header says ${told}`);
  }
  const parts = taken(tensors, "tables/");
  stored.tables = {};
  for (const [name, escape] of Object.entries(parsed(metadata.escapes, "escapes"))) {
    const [rows, lengths, offsets] = ["frequencies", "lengths", "offsets"].map((part) => parts[`${name}/${part}`]?.data);
    try {
      if (![rows, lengths, offsets].every((part) => part instanceof Int32Array)) throw new RangeError("no integers");
      stored.tables[name] = new TableSet(rows, lengths, offsets, escape);
    } catch (error) {
      throw new CheckpointError(`its tables are missing or garbled (${error.message})`);
    }
  }
  stored.tensors = tensors;
  stored.graphs = Object.fromEntries(Object.entries(graphs).map(([name, { bytes }]) => [name, bytes]));
  return stored;
}

function parsed(text, what) {
  try {
    const value = JSON.parse(text);
    if (value && typeof value === "object") return value;
  } catch {
    // told below
  }
  throw new CheckpointError(`its header is garbled (${what})`);
}

/** The tensors whose names begin with a prefix, without it; they are taken out. */
function taken(tensors, prefix) {
  const found = {};
  for (const name of Object.keys(tensors).filter((key) => key.startsWith(prefix))) {
    found[name.slice(prefix.length)] = tensors[name];
    delete tensors[name];
  }
  return found;
}

function readTensors(data) {
  const length = data.length < 8 ? Infinity : Number(viewOf(data).getBigUint64(0, true));
  if (length > Math.min(HEADER_LIMIT, data.length - 8)) throw new CheckpointError("not a checkpoint (its header)");
  const header = parsed(new TextDecoder().decode(data.subarray(8, 8 + length)), "safetensors");
  const metadata = header.__metadata__ ?? {};
  if (!Object.hasOwn(FORMATS, metadata.format ?? "")) {
    const known = Object.keys(FORMATS).join(" or ");
    throw new CheckpointError(`expected a checkpoint of format ${known}, found ${metadata.format ?? "none"}`);
  }
  const tensors = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name !== "__metadata__") tensors[name] = tensor(name, entry ?? {}, data.subarray(8 + length));
  }
  return { metadata, tensors };
}

function tensor(name, { dtype, shape, data_offsets: offsets }, content) {
  const Kind = TYPES[dtype];
  const [start, end] = offsets ?? [];
  const count = Array.isArray(shape) ? shape.reduce((product, side) => product * side, 1) : NaN;
  if (!Kind || end - start !== count * Kind.BYTES_PER_ELEMENT || !(start >= 0 && end <= content.length)) {
    throw new CheckpointError(`tensor ${JSON.stringify(name).slice(0, 80)} is garbled`);
  }
  const bytes = content.slice(start, end);
  return { type: dtype, shape, bytes, data: new Kind(bytes.buffer) };
}

/** A tensor of floats -> Float32Array. Throws CheckpointError for another, or one that holds a value that is not finite. */
export function floats(tensor, name) {
  const { type, data } = tensor ?? {};
  if (!["F16", "F32", "F64"].includes(type)) throw new CheckpointError(`${name} is missing or holds no floats`);
  const result = type === "F16" ? Float32Array.from(data, widened) : type === "F32" ? data : Float32Array.from(data);
  if (!result.every(Number.isFinite)) throw new CheckpointError(`${name} holds a value that is not finite`);
  return result;
}

/** The bits of a float16 -> its value. */
function widened(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 25) * (1024 + fraction) : sign * 2 ** -24 * fraction;
}
