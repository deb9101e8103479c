// A checkpoint's graphs name their weights and hold none of them: here they are put in, since ONNX Runtime Web takes a
// graph as one piece. Protocol buffers by the field numbers of onnx.proto3.

import { joined } from "../format/bytes.js";
import { CheckpointError } from "../format/errors.js";

const GRAPH = 7; // of a model
const INITIALISER = 5; // of a graph
const NAME = 8; // of a tensor, as the next ones
const RAW_DATA = 9;
const EXTERNAL_DATA = 13;
const DATA_LOCATION = 14;

/** graph: bytes; weights: name -> Float32Array -> bytes of the same graph with its weights. Throws CheckpointError. */
export function withWeights(graph, weights) {
  return rewritten(graph, GRAPH, (inner) => rewritten(inner, INITIALISER, (tensor) => filled(tensor, weights)));
}

/** A message whose fields of a number are replaced by what a function makes of their content. */
function rewritten(message, number, change) {
  const parts = [];
  for (const field of fields(message)) {
    parts.push(...(field.number === number ? packed(number, change(field.content)) : [field.whole]));
  }
  return joined(parts);
}

function filled(tensor, weights) {
  const found = [...fields(tensor)];
  if (!found.some((field) => field.number === DATA_LOCATION)) return tensor;
  const name = new TextDecoder().decode(found.find((field) => field.number === NAME)?.content);
  const { buffer, byteOffset, byteLength } = weights(name);
  const kept = found.filter(({ number }) => number !== EXTERNAL_DATA && number !== DATA_LOCATION);
  const raw = packed(RAW_DATA, new Uint8Array(buffer, byteOffset, byteLength));
  return joined([...kept.map((field) => field.whole), ...raw]);
}

/** The fields of a message: {number, content (of those that have a length), whole}. */
function* fields(message) {
  let place = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[place++];
      if (byte === undefined || scale > 2 ** 63) throw new CheckpointError("a graph of its networks is damaged");
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (place < message.length) {
    const start = place;
    const key = varint();
    const wire = key % 8;
    let content = null;
    if (wire === 0) varint();
    else {
      const length = wire === 2 ? varint() : wire === 1 ? 8 : wire === 5 ? 4 : Infinity;
      if (length > message.length - place) throw new CheckpointError("a graph of its networks is damaged");
      content = message.subarray(place, place + length);
      place += length;
    }
    yield { number: Math.floor(key / 8), content, whole: message.subarray(start, place) };
  }
}

function packed(number, content) {
  return [varintOf(number * 8 + 2), varintOf(content.length), content];
}

function varintOf(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push(128 + (value % 128));
  return Uint8Array.of(...bytes, value);
}
