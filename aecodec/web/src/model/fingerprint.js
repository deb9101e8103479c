// The fingerprint of a checkpoint's content, as aecodec/zoo/stored.py defines it: the first 8 bytes of a SHA-256.

import { hex, joined } from "../format/bytes.js";

/** Types of a safetensors file as the first checkpoints named them, which were torch's. */
const NAMES = {
  F16: "float16",
  F32: "float32",
  F64: "float64",
  I8: "int8",
  U8: "uint8",
  BOOL: "bool",
  I16: "int16",
  I32: "int32",
  I64: "int64",
};

/** Hexadecimal digits; null where the browser does not hash. metadata: of the file; tensors: all but the graphs. */
export async function fingerprintOf(metadata, tensors) {
  if (!globalThis.crypto?.subtle) return null;
  const text = new TextEncoder();
  const parts = [text.encode(`[${JSON.stringify(metadata.family)}, ${withSortedKeys(metadata.config)}]`)];
  for (const name of Object.keys(tensors).sort()) {
    const { type, shape, bytes } = tensors[name];
    const sides = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
    parts.push(text.encode(`${name}|torch.${NAMES[type]}|(${sides})|`), bytes);
  }
  const digest = await crypto.subtle.digest("SHA-256", joined(parts));
  return hex(new Uint8Array(digest, 0, 8));
}

/**
 * The JSON of a flat object as Python writes it, its keys sorted and its values letter for letter: 16.0 stays 16.0, which
 * JSON.stringify would not keep.
 */
function withSortedKeys(json) {
  const entry = /"((?:[^"\\]|\\.)*)": ("(?:[^"\\]|\\.)*"|\[[^\]]*\]|[^,}\]]+)/g;
  const entries = Array.from(json.matchAll(entry), ([whole, key]) => [key, whole]);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([, whole]) => whole).join(", ")}}`;
}
