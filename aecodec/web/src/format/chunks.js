// The chunks of an .aec file: read in order with every checksum verified, and found again behind damage
// (aecodec/coding/chunks.py).

import { isLetter, shown, viewOf } from "./bytes.js";
import { crc32 } from "./crc32.js";
import { BitstreamError, TruncatedError } from "./errors.js";

export const TILE = "T";
const HEAD = 5;
const CRC = 4;
/** Bytes of a chunk without data. */
export const MIN_CHUNK = HEAD + CRC;
/** Chunks of a file that are no tiles: at most this many, so that empty ones cannot fill the memory. */
const MAX_OTHERS = 256;
/** How many bytes a search behind damage may checksum: this many, and a few times the file's. */
const SEARCH_BYTES = 64 * 2 ** 20;
const SEARCH_PASSES = 4;
const COST_OF_CANDIDATE = 64;
const COST_OF_CHECKSUM = 256;

/** CRC-32 of a chunk's type, length and data, bound to the file (its header's CRC) and to the tile's index. */
function checksum(binding, index, content) {
  const bound = new Uint8Array(8);
  const view = viewOf(bound);
  view.setUint32(0, binding, true);
  view.setUint32(4, index, true);
  return crc32(content, crc32(bound));
}

/**
 * The chunk at a position, verified: {type, data, offset, index, end}. data: a view of the file's bytes.
 *
 * tile: its index if it should be a tile. Throws TruncatedError or BitstreamError.
 */
function readChunk(data, position, binding, tile) {
  if (data.length - position < MIN_CHUNK) {
    throw new TruncatedError(`the file ends inside the chunk at byte ${position}`);
  }
  const view = viewOf(data);
  const length = view.getUint32(position + 1, true);
  const end = position + MIN_CHUNK + length;
  if (end > data.length) {
    throw new TruncatedError(`the chunk at byte ${position} declares ${length} bytes, beyond the file's end`);
  }
  const type = String.fromCharCode(data[position]);
  const index = type === TILE ? tile : 0;
  if (view.getUint32(end - CRC, true) !== checksum(binding, index, data.subarray(position, end - CRC))) {
    throw new BitstreamError(`the chunk at byte ${position} is damaged or out of place (checksum mismatch)`);
  }
  if (!isLetter(data[position])) {
    const kind = shown(data.subarray(position, position + 1));
    throw new BitstreamError(`the chunk at byte ${position} has no valid type: ${kind}`);
  }
  return { type, data: data.subarray(position + HEAD, end - CRC), offset: position, index, end };
}

/** All chunks from a position on, every checksum verified. Throws TruncatedError or BitstreamError. */
export function readChunks(data, position, binding) {
  const chunks = [];
  let tile = 0;
  while (position < data.length) {
    const chunk = readChunk(data, position, binding, tile);
    chunks.push(chunk);
    position = chunk.end;
    tile += chunk.type === TILE;
    if (chunks.length - tile > MAX_OTHERS) {
      throw new BitstreamError(`there are more than ${MAX_OTHERS} chunks besides the tiles`);
    }
  }
  return chunks;
}

/**
 * The chunks from a position on that are whole, and the gaps between them as {start, end}. Throws nothing.
 *
 * Behind damage the next whole chunk is looked for: one of the given types (letters) whose checksum is right for this
 * file, for index 0 or for a tile index that is still to come, up to `tiles`.
 */
export function recoverChunks(data, position, binding, tiles, types) {
  const chunks = [];
  const gaps = [];
  const search = new Search(data, binding, tiles, types);
  let tile = 0;
  let others = 0;
  while (position < data.length && others <= MAX_OTHERS) {
    let chunk = attempt(data, position, binding, tile);
    if (!chunk) {
      chunk = search.nextChunk(position, tile);
      gaps.push({ start: position, end: chunk ? chunk.offset : data.length });
      if (!chunk) break;
    }
    chunks.push(chunk);
    if (chunk.type === TILE) tile = chunk.index + 1;
    else others += 1;
    position = chunk.end;
  }
  return { chunks, gaps };
}

function attempt(data, position, binding, tile) {
  try {
    return readChunk(data, position, binding, tile);
  } catch (error) {
    if (error instanceof BitstreamError) return null;
    throw error;
  }
}

/** Looks for whole chunks at any byte of a file, within a budget of bytes to checksum. */
class Search {
  constructor(data, binding, tiles, types) {
    this.data = data;
    this.view = viewOf(data);
    this.binding = binding;
    this.tiles = tiles;
    this.types = new Set(Array.from(types, (type) => type.charCodeAt(0)));
    this.budget = SEARCH_BYTES + SEARCH_PASSES * data.length;
  }

  /** The first whole chunk from a position on, or null. */
  nextChunk(position, tile) {
    const { data } = this;
    const letter = TILE.charCodeAt(0);
    for (let start = position; start < data.length; start++) {
      if (tile ? data[start] !== letter : !this.types.has(data[start])) continue;
      this.budget -= COST_OF_CANDIDATE;
      if (this.budget < 0) return null;
      const end = this.end(start);
      if (end === null || !(end === data.length || this.end(end) !== null)) continue;
      const [first, last] = data[start] === letter ? [tile, this.tiles] : [0, 1];
      for (let index = first; index < last; index++) {
        this.budget -= end - start + COST_OF_CHECKSUM;
        if (this.budget < 0) return null;
        const chunk = attempt(data, start, this.binding, index);
        if (chunk) return chunk;
      }
    }
    return null;
  }

  /** Where a chunk that starts here would end, or null if none can start here. */
  end(start) {
    if (this.data.length - start < MIN_CHUNK || !isLetter(this.data[start])) return null;
    const end = start + MIN_CHUNK + this.view.getUint32(start + 1, true);
    return end <= this.data.length ? end : null;
  }
}
