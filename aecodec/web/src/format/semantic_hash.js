// What a picture shows, as bits: the chunk by which an .aec file is found (aecodec/coding/semantic_hash.py).

import { ascii, hex } from "./bytes.js";
import { BitstreamError } from "./errors.js";
import { FINGERPRINT, isName } from "./header.js";

const MAX_HASH = 64;

/** Data of the chunk -> {hasher, fingerprint, bits}: a name, hexadecimal digits, bytes. Throws BitstreamError. */
export function unpackHash(data) {
  const end = 1 + (data[0] ?? 0);
  const name = data.subarray(1, end);
  const bits = data.slice(end + FINGERPRINT);
  if (!isName(name) || bits.length < 1 || bits.length > MAX_HASH) {
    throw new BitstreamError(`the semantic hash is not valid (${data.length} bytes)`);
  }
  return { hasher: ascii(name), fingerprint: hex(data.subarray(end, end + FINGERPRINT)), bits };
}
