// zlib streams (RFC 1950) by the browser's own decompressor, never to more bytes than are wanted.

import { joined } from "./bytes.js";

/**
 * A zlib stream -> its content, null where it is damaged, followed by anything, or longer than `most` bytes.
 *
 * What comes out is counted as it comes, so that a small stream of much content costs no more than `most`.
 */
export async function inflate(data, most) {
  const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const parts = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return joined(parts);
      length += value.length;
      if (length > most) {
        reader.cancel().catch(() => {});
        return null;
      }
      parts.push(value);
    }
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}

/** Bytes -> a zlib stream of them. */
export async function deflate(parts) {
  const stream = new Blob(parts).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
