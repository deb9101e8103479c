// An .aec file, opened: what it says of itself, and its picture.

import { BitstreamError, PictureTooLargeError } from "../format/errors.js";
import { parse } from "../format/container.js";
import { readAlpha, writePng } from "../format/png.js";
import { TileDecoder } from "./decoder.js";
import { qualityOf } from "./quality.js";
import { Window } from "./window.js";

/** Pictures of more pixels are refused, as Pillow and so the commands refuse them; a row counts as 16 pixels at least. */
const MAX_PIXELS = 89_478_485;
const LEAST_ROW = 16;

/**
 * Bytes (Uint8Array) of a file -> an `AecFile`; every checksum is verified and no model is needed.
 *
 * partial: keep what is whole of a damaged file. Throws BitstreamError, TruncatedError or UnsupportedVersionError.
 */
export async function openAec(data, { partial = false } = {}) {
  return new AecFile(await parse(data, { partial }), data.length);
}

/** See `openAec`. info: all that the file says of itself, which can be sent to another thread. */
export class AecFile {
  constructor(parsed, bytes) {
    this.parsed = parsed;
    const { header, side, chunks } = parsed;
    const { alpha, hash = null, filter, ...metadata } = side;
    this.info = {
      ...header,
      bytes,
      quality: qualityOf(header.step),
      tiles: header.rows * header.columns,
      chunks: chunks.map(({ type, offset, data }) => ({ type, offset, length: data.length })),
      metadata,
      hash,
      partial: parsed.partial,
      damaged: Array.from(parsed.damaged),
      notices: parsed.notices,
    };
    this.picture = null;
  }

  /**
   * Decodes the picture: calls onTile({x, y, width, height, rgba}) for each block of it, in raster order, in pixels; rgba:
   * Uint8ClampedArray of the file's own colour space, not multiplied with alpha -> {lost, notices}: tiles that are damaged
   * and grey, and what else is lost.
   *
   * coder, networks: of the file's model. keep: whether the picture is held for `png`. signal: an AbortSignal. Throws
   * BitstreamError for a tile that is damaged (unless that was let pass), PictureTooLargeError, CheckpointError.
   */
  async decode({ coder, networks, onTile = () => {}, keep = false, signal }) {
    const { header } = this.parsed;
    signal?.throwIfAborted();
    refuseLarge(header);
    if (header.tile % coder.alignment) {
      throw new BitstreamError(`tiles of ${header.tile} pixels do not fit the model's alignment`);
    }
    const { alpha, notices } = await this.alpha();
    const whole = new Window(0, 0, header.height, header.width);
    const picture = keep ? new Uint8Array(header.height * header.width * header.channels) : null;
    const decoder = new TileDecoder(coder, networks, this.parsed);
    for await (const { place, levels } of decoder.pixels()) {
      await turn(); // so that a message to stop is heard
      signal?.throwIfAborted();
      const area = place.intersection(whole);
      const { top, left, height, width } = area;
      const rgba = interleaved(levels, alpha && { data: alpha, place: area, width: header.width }, area);
      if (picture) keepTile(picture, header, rgba, area);
      onTile({ x: left, y: top, width, height, rgba });
    }
    this.picture = picture;
    return { lost: Array.from(decoder.lost).sort((a, b) => a - b), notices };
  }

  /** The decoded picture as a PNG (Blob), with the file's ICC profile, Exif and XMP. */
  async png() {
    const { header, side } = this.parsed;
    if (!this.picture) throw new BitstreamError("the picture has not been decoded to be kept");
    return writePng(this.picture, header.height, header.width, header.channels, side);
  }

  /** The alpha plane, or null; opaque where it is lost and that was let pass. */
  async alpha() {
    const { header, side, partial } = this.parsed;
    if (!header.alpha) return { alpha: null, notices: [] };
    try {
      if (side.alpha) return { alpha: await readAlpha(side.alpha, header.height, header.width), notices: [] };
    } catch (error) {
      if (!partial || !(error instanceof BitstreamError)) throw error;
    }
    return {
      alpha: new Uint8Array(header.height * header.width).fill(255),
      notices: ["the alpha plane is lost"],
    };
  }
}

/** One turn of the event loop. */
function turn() {
  return new Promise((resolve) => setTimeout(resolve));
}

function refuseLarge({ height, width }) {
  if (height * Math.max(width, LEAST_ROW) > MAX_PIXELS) {
    throw new PictureTooLargeError(`${width} x ${height} pixels exceed the limit of ${MAX_PIXELS}`);
  }
}

/** Uint8 planes of one channel or three, and an alpha plane of the whole picture -> RGBA of an area at their corner. */
function interleaved({ data, channels, height: rows, width: stride }, alpha, { height, width }) {
  const rgba = new Uint8ClampedArray(4 * height * width);
  const [green, blue] = channels === 1 ? [0, 0] : [rows * stride, 2 * rows * stride];
  for (let row = 0, target = 0; row < height; row++) {
    const start = row * stride;
    const beside = alpha && (alpha.place.top + row) * alpha.width + alpha.place.left;
    for (let column = 0; column < width; column++, target += 4) {
      rgba[target] = data[start + column];
      rgba[target + 1] = data[start + column + green];
      rgba[target + 2] = data[start + column + blue];
      rgba[target + 3] = alpha ? alpha.data[beside + column] : 255;
    }
  }
  return rgba;
}

/** Write RGBA of an area into the picture, interleaved in as many channels as it has. */
function keepTile(picture, { width, channels }, rgba, area) {
  const taken = [null, [0], [0, 3], [0, 1, 2], [0, 1, 2, 3]][channels];
  let source = 0;
  for (let row = area.top; row < area.bottom; row++) {
    let target = (row * width + area.left) * channels;
    for (let column = area.left; column < area.right; column++, source += 4) {
      for (const channel of taken) picture[target++] = rgba[source + channel];
    }
  }
}
