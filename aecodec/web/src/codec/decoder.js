// The tiles of a file to pixels, block by block: two rows of blocks of latents are all that is held of small tiles
// (aecodec/codec/decoder.py, where the walk is told in full).

import { BitstreamError } from "../format/errors.js";
import { HYPER_STRIDE } from "../latents/exact_hyperprior.js";
import { cut, paste, planes } from "../latents/planes.js";
import { filtered } from "./filtering.js";
import { Grid } from "./tiles.js";

/** Side in pixels of the largest window that networks are given, without what they see around it. */
const BLOCK = 1024;
/** What a lost tile shows. */
const LOST_LEVEL = 128;

/** Decodes a parsed file. coder: of its model; networks: see `OnnxNetworks`. Throws BitstreamError for a filter that
 * does not fit the picture. */
export class TileDecoder {
  constructor(coder, networks, parsed) {
    Object.assign(this, { coder, networks, parsed });
    const { height, width, tile, grey } = parsed.header;
    const { filter } = parsed.side;
    const wanted = grey ? 1 : 3;
    if (filter && filter.planes !== wanted) {
      throw new BitstreamError(`the post filter is for ${filter.planes} planes, the picture has ${wanted}`);
    }
    this.tiles = new Grid(coder, height, width, tile);
    // The filter looks at pixels beyond a block, whose latents must be seen as far as the others' are.
    this.blocks = new Grid(coder, height, width, Math.min(tile, BLOCK), filter ? 1 : 0);
    /** The integers of tiles of which blocks are still to come; null for a tile that is lost. */
    this.codes = new Map();
    /** What is at hand of the latents of blocks: {place, planes}. */
    this.latents = new Map();
    this.lost = new Set();
  }

  /** Yields {place, levels} of each block in raster order: its window in pixels of the padded picture, and Uint8 planes of
   * one channel if the picture is grey, else of three. Throws BitstreamError for a tile that is damaged, unless that was
   * let pass. */
  async *pixels() {
    const { blocks, coder } = this;
    for (let row = 0; row < blocks.rows; row++) {
      await this.decodeRow(row);
      for (const index of blocks.row(row)) {
        yield { place: blocks.place(index).times(coder.stride), levels: await this.synthesise(index) };
      }
    }
  }

  /** Have the latents of a row and the next at hand, and the rows of latents above that their windows see; forget others. */
  async decodeRow(row) {
    const { blocks } = this;
    const wanted = [row - 1, row, row + 1].flatMap((r) => blocks.row(r));
    for (const index of this.latents.keys()) if (index < (wanted[0] ?? 0)) this.latents.delete(index);
    for (const index of wanted) {
      if (!this.latents.has(index)) this.latents.set(index, await this.dequantise(index));
    }
    for (const tile of this.codes.keys()) {
      if (this.tiles.place(tile).bottom <= (row + 2) * blocks.side) this.codes.delete(tile);
    }
    for (const index of blocks.row(row - 1)) this.trim(index);
  }

  /** Keep only those latents of a block that the row below looks at. */
  trim(index) {
    const { place, planes: whole } = this.latents.get(index);
    const top = Math.max(place.bottom - this.blocks.context, place.top);
    if (top === place.top) return;
    const seen = place.moved(top - place.top, 0, 0, 0);
    this.latents.set(index, { place: seen, planes: part(whole, seen.within(place)) });
  }

  tileOf(index) {
    const perTile = this.tiles.side / this.blocks.side;
    const row = Math.floor(Math.floor(index / this.blocks.columns) / perTile);
    return row * this.tiles.columns + Math.floor((index % this.blocks.columns) / perTile);
  }

  /** y_hat of one block with its place; zeros, and its tile noted as lost, if that is damaged. */
  async dequantise(index) {
    const { blocks, coder } = this;
    const [place, tile] = [blocks.place(index), this.tileOf(index)];
    if (!this.codes.has(tile)) this.codes.set(tile, this.decodeTile(tile));
    const code = this.codes.get(tile);
    if (!code) {
      this.lost.add(tile);
      return { place, planes: planes(Float32Array, coder.latents, place.height, place.width) };
    }
    const whole = this.tiles.place(tile);
    const window = place.grown(coder.meanReach, blocks.height, blocks.width).intersection(whole);
    const inner = window.within(whole);
    const seen = { y: part(code.y, inner), z: part(code.z, inner.divided(HYPER_STRIDE)) };
    const yHat = await coder.dequantise(this.networks, seen, this.parsed.header.step);
    return { place, planes: part(yHat, place.within(window)) };
  }

  /** The integers of a tile; null if it is damaged and that was let pass. */
  decodeTile(tile) {
    const { parsed, coder } = this;
    try {
      if (parsed.damaged.has(tile)) throw new BitstreamError(`tile ${tile} is damaged`);
      const { height, width } = this.tiles.place(tile);
      return coder.decodeTile(parsed.tiles[tile], parsed.header.step, height, width);
    } catch (error) {
      if (!parsed.partial || !(error instanceof BitstreamError)) throw error;
      return null;
    }
  }

  /** Levels of one block, Uint8 planes of one channel or three. */
  async synthesise(index) {
    const { blocks, coder, parsed } = this;
    const { grey, step } = parsed.header;
    const { filter } = parsed.side;
    const place = blocks.place(index);
    if (this.lost.has(this.tileOf(index))) {
      const lost = planes(Uint8Array, grey ? 1 : 3, place.height * coder.stride, place.width * coder.stride);
      lost.data.fill(LOST_LEVEL);
      return lost;
    }
    const window = blocks.window(place);
    const yHat = planes(Float32Array, coder.latents, window.height, window.width);
    for (const other of blocks.seen(index)) {
      const known = this.latents.get(other);
      const shared = known.place.intersection(window);
      const target = shared.within(window);
      paste(yHat, part(known.planes, shared.within(known.place)), target.top, target.left);
    }
    const xHat = await coder.synthesise(this.networks, yHat, step);
    const pixels = grey ? mean(xHat) : xHat;
    const inner = place.within(window).times(coder.stride);
    return levels(filter ? filtered(pixels, inner, filter) : part(pixels, inner));
  }
}

function part(plane, { top, left, bottom, right }) {
  if (bottom - top === plane.height && right - left === plane.width) return plane;
  return cut(plane, top, left, bottom, right);
}

/** Float32 planes (3, H, W) -> their mean, one plane. */
function mean({ data, height, width }) {
  const result = planes(Float32Array, 1, height, width);
  const size = height * width;
  for (let n = 0; n < size; n++) {
    result.data[n] = Math.fround(Math.fround(data[n] + data[n + size]) + data[n + 2 * size]) / 3;
  }
  return result;
}

/** Float32 planes in [0, 1] -> Uint8 planes: rounded half up and clipped. */
function levels({ data, channels, height, width }) {
  const result = planes(Uint8Array, channels, height, width);
  for (let n = 0; n < data.length; n++) {
    result.data[n] = Math.min(Math.max(Math.floor(Math.fround(Math.fround(data[n] * 255) + 0.5)), 0), 255);
  }
  return result;
}
