// PNG as far as it is needed: the alpha plane of a file is read from one, and decoded pictures are written to one. A
// canvas would do neither without loss: it multiplies colours with their transparency, and some browsers add noise.

import { ascii, joined, viewOf } from "./bytes.js";
import { crc32 } from "./crc32.js";
import { BitstreamError } from "./errors.js";
import { deflate, inflate } from "./inflate.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** Channels of a picture -> colour type of a PNG. */
const COLOUR_TYPES = [null, 0, 4, 2, 6];

/** A greyscale PNG of 8 bits and this size -> Uint8Array (height * width). Throws BitstreamError for anything else. */
export async function readAlpha(data, height, width) {
  const { header, content } = chunksOf(data);
  const found = header && [viewOf(header).getUint32(0), viewOf(header).getUint32(4), ...header.subarray(8)].join();
  if (found !== [width, height, 8, 0, 0, 0, 0].join()) {
    throw new BitstreamError(`the alpha plane is no plain greyscale PNG of 8 bits and ${width} x ${height} pixels`);
  }
  const rows = await inflate(content, height * (width + 1));
  if (rows?.length !== height * (width + 1)) throw new BitstreamError("the alpha plane is damaged");
  return unfiltered(rows, height, width);
}

function chunksOf(data) {
  let header = null;
  const content = [];
  let place = SIGNATURE.every((byte, n) => data[n] === byte) ? SIGNATURE.length : data.length;
  while (place + 12 <= data.length) {
    const length = viewOf(data).getUint32(place);
    const kind = ascii(data.subarray(place + 4, place + 8));
    const end = place + 8 + length;
    if (end + 4 > data.length) break;
    if (kind === "IHDR" && length === 13) header = data.subarray(place + 8, end);
    if (kind === "IDAT") content.push(data.subarray(place + 8, end));
    place = end + 4;
  }
  return { header, content: joined(content) };
}

/** Rows of one byte for each pixel, each after the number of its filter -> the pixels. */
function unfiltered(rows, height, width) {
  const pixels = new Uint8Array(height * width);
  for (let row = 0; row < height; row++) {
    const filter = rows[row * (width + 1)];
    if (filter > 4) throw new BitstreamError("the alpha plane is damaged (an unknown filter)");
    const start = row * width;
    for (let column = 0; column < width; column++) {
      const left = column ? pixels[start + column - 1] : 0;
      const up = row ? pixels[start + column - width] : 0;
      const corner = row && column ? pixels[start + column - width - 1] : 0;
      pixels[start + column] = rows[start + row + 1 + column] + predicted(filter, left, up, corner);
    }
  }
  return pixels;
}

/** What a filter of PNG predicts a byte to be. */
function predicted(filter, left, up, corner) {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return up;
  if (filter === 3) return (left + up) >> 1;
  const [a, b, c] = [up - corner, left - corner, left + up - 2 * corner].map(Math.abs);
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

/**
 * Interleaved pixels (height * width * channels), 8 bits, of 1 to 4 channels (grey, with alpha, RGB, with alpha) -> a PNG
 * as a Blob, with {icc, exif, xmp} as far as they are given.
 */
export async function writePng(pixels, height, width, channels, { icc, exif, xmp } = {}) {
  const header = new Uint8Array(13);
  viewOf(header).setUint32(0, width);
  viewOf(header).setUint32(4, height);
  header.set([8, COLOUR_TYPES[channels]], 8);
  const parts = [Uint8Array.from(SIGNATURE), ...chunk("IHDR", header)];
  const text = new TextEncoder();
  if (icc) parts.push(...chunk("iCCP", joined([text.encode("ICC profile\0\0"), await deflate([icc])])));
  if (exif) parts.push(...chunk("eXIf", withoutPrefix(exif)));
  if (xmp) parts.push(...chunk("iTXt", joined([text.encode("XML:com.adobe.xmp\0\0\0\0\0"), xmp])));
  parts.push(...chunk("IDAT", await deflate(filtered(pixels, height, width * channels, channels))));
  return new Blob([...parts, ...chunk("IEND", new Uint8Array(0))], { type: "image/png" });
}

/** A PNG's Exif begins at its TIFF header. */
function withoutPrefix(exif) {
  return ascii(exif.subarray(0, 6)) === "Exif\0\0" ? exif.subarray(6) : exif;
}

function chunk(kind, data) {
  const head = new Uint8Array(8);
  viewOf(head).setUint32(0, data.length);
  head.set(new TextEncoder().encode(kind), 4);
  const tail = new Uint8Array(4);
  viewOf(tail).setUint32(0, crc32(data, crc32(head.subarray(4))));
  return [head, data, tail];
}

/** Each row less what the row above it (first row: the pixel to the left) predicts, after the number of that filter. */
function filtered(pixels, height, length, channels) {
  const rows = [];
  for (let row = 0; row < height; row++) {
    const line = new Uint8Array(length + 1);
    const start = row * length;
    line[0] = row ? 4 : 1;
    for (let n = 0; n < length; n++) {
      const left = n >= channels ? pixels[start + n - channels] : 0;
      if (!row) {
        line[n + 1] = pixels[start + n] - left;
        continue;
      }
      const up = pixels[start + n - length];
      const corner = n >= channels ? pixels[start + n - length - channels] : 0;
      const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
      line[n + 1] = pixels[start + n] - (a <= b && a <= c ? left : b <= c ? up : corner);
    }
    rows.push(line);
  }
  return rows;
}
