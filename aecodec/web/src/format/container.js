// A whole .aec file, every checksum verified before anything is allocated (aecodec/coding/container.py).

import { viewOf } from "./bytes.js";
import { MIN_CHUNK, readChunks, recoverChunks, TILE } from "./chunks.js";
import { BitstreamError, TruncatedError, UnsupportedVersionError } from "./errors.js";
import { CRC, parseHeader } from "./header.js";
import { inflate } from "./inflate.js";
import { unpackFilter } from "./post_filter.js";
import { unpackHash } from "./semantic_hash.js";

/** Damaged files of more tiles than this are not read. */
const MAX_PARTIAL = 1 << 18;
const MAX_METADATA = 16 * 2 ** 20;

async function inflated(kind, data) {
  const content = await inflate(data, MAX_METADATA);
  if (!content) throw new BitstreamError(`the ${kind} metadata is damaged or larger than ${MAX_METADATA} bytes`);
  return content;
}

/** What a file may hold beside its tiles, by the type of its chunk: a name and how it is unpacked. */
const SIDE = {
  h: ["hash", (name, data) => unpackHash(data)],
  A: ["alpha", (name, data) => data],
  e: ["exif", inflated],
  i: ["icc", inflated],
  x: ["xmp", inflated],
  F: ["filter", (name, data) => unpackFilter(data)],
};

/**
 * Bytes of a file -> {header, tiles, side, chunks, partial, damaged, notices}.
 *
 * tiles: entropy-coded bytes in raster order; side: what else it holds, by the names of SIDE; damaged: a set of the
 * indices of tiles that are lost, and empty in `tiles`; notices: what else is damaged. partial: keep what is whole
 * instead of throwing for what is not; the header must be whole all the same. Throws BitstreamError and its kin.
 */
export async function parse(data, { partial = false } = {}) {
  const { header, position } = parseHeader(data);
  const binding = viewOf(data).getUint32(position - CRC, true);
  const count = header.rows * header.columns;
  if (partial) return parsePartial(data, position, binding, header, count);
  if (count * MIN_CHUNK > data.length - position) {
    throw new TruncatedError(
      `${header.width} x ${header.height} pixels need ${count} tiles; ` +
        `the ${data.length - position} bytes after the header cannot hold them`,
    );
  }
  const chunks = readChunks(data, position, binding);
  const tiles = chunks.filter((chunk) => chunk.type === TILE).map((chunk) => chunk.data);
  const { found, misplaced } = sideChunks(chunks);
  if (misplaced.length) {
    const { type, offset } = misplaced[0];
    throw new BitstreamError(`the '${type}' chunk at byte ${offset} is repeated or out of place`);
  }
  if (header.alpha !== found.has("A")) {
    throw new BitstreamError(`${header.channels} channels, but ${found.has("A") ? "an" : "no"} alpha plane`);
  }
  if (tiles.length !== count) {
    const Kind = tiles.length < count ? TruncatedError : BitstreamError;
    throw new Kind(`${count} tiles are declared, the file holds ${tiles.length}`);
  }
  const side = {};
  for (const [type, content] of found) {
    const [name, unpack] = SIDE[type];
    side[name] = await unpack(name, content);
  }
  return { header, tiles, side, chunks, partial, damaged: new Set(), notices: [] };
}

async function parsePartial(data, position, binding, header, count) {
  if (count > MAX_PARTIAL) {
    throw new BitstreamError(`${count} tiles are declared; at most ${MAX_PARTIAL} are read from a damaged file`);
  }
  const known = TILE + Object.keys(SIDE).sort().join("");
  const { chunks, gaps } = recoverChunks(data, position, binding, count, known);
  const notices = gaps.map(({ start, end }) => `bytes ${start} to ${end - 1} are damaged`);
  const nothing = new Uint8Array(0);
  const tiles = new Array(count).fill(nothing);
  const damaged = new Set(tiles.keys());
  for (const chunk of chunks) {
    if (chunk.type !== TILE || chunk.index >= count) continue;
    tiles[chunk.index] = chunk.data;
    damaged.delete(chunk.index);
  }
  const { found, misplaced } = sideChunks(chunks);
  notices.push(...misplaced.map(({ type, offset }) => `the '${type}' chunk at byte ${offset} is out of place`));
  const side = {};
  for (const [type, content] of found) {
    if (type === "A" && !header.alpha) continue;
    const [name, unpack] = SIDE[type];
    try {
      side[name] = await unpack(name, content);
    } catch (error) {
      if (!(error instanceof BitstreamError)) throw error;
      notices.push(error.message);
    }
  }
  return { header, tiles, side, chunks, partial: true, damaged, notices };
}

/**
 * Known chunks that are no tiles: a map from type to data, and those that are repeated or out of place. Throws
 * UnsupportedVersionError for an unknown critical one.
 */
function sideChunks(chunks) {
  const found = new Map();
  const misplaced = [];
  let tilesBegun = false;
  for (const chunk of chunks) {
    if (chunk.type === TILE) tilesBegun = true;
    else if (Object.hasOwn(SIDE, chunk.type)) {
      if (tilesBegun || found.has(chunk.type)) misplaced.push(chunk);
      else found.set(chunk.type, chunk.data);
    } else if (chunk.type < "a") {
      throw new UnsupportedVersionError(`the file needs a feature that this program does not know ('${chunk.type}')`);
    }
  }
  return { found, misplaced };
}
