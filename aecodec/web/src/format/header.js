// The header of an .aec file, laid out as aecodec/coding/container.py specifies.

import { ascii, hex, shown, viewOf } from "./bytes.js";
import { crc32 } from "./crc32.js";
import { BitstreamError, TruncatedError, UnsupportedVersionError } from "./errors.js";

const MAGIC = [0x41, 0x45, 0x43, 0];
const VERSION = 1;
const MAX_SIDE = 1 << 20;
const QUALITY_STEPS = 1000;
/** Bytes before the name, of a fingerprint, and of a checksum. */
const FIXED = 27;
export const FINGERPRINT = 8;
export const CRC = 4;
const NAME = /^[A-Za-z0-9._-]{1,16}$/;

/** Whether bytes are the name of a model or hasher. */
export function isName(bytes) {
  return bytes.length <= 16 && NAME.test(ascii(bytes));
}

/**
 * The header, and where the first chunk begins.
 *
 * {version, width, height, channels, bitDepth, tile, step, model, fingerprint, grey, alpha, rows, columns}; sides in
 * pixels, step of the quality from 0 to 1000, rows and columns of tiles. Throws BitstreamError and its kin.
 */
export function parseHeader(data) {
  if (!data.length) throw new TruncatedError("the file is empty");
  if (MAGIC.some((byte, place) => place < data.length && data[place] !== byte)) {
    throw new BitstreamError("not an .aec file (it does not start with the magic bytes)");
  }
  const end = data.length < FIXED ? Infinity : FIXED + data[FIXED - 1];
  if (data.length < end + CRC) throw new TruncatedError(`the file ends inside its header (${data.length} bytes)`);
  const view = viewOf(data);
  if (view.getUint32(end, true) !== crc32(data.subarray(0, end))) {
    throw new BitstreamError("the header is damaged (checksum mismatch)");
  }
  if (data[4] !== VERSION) {
    throw new UnsupportedVersionError(`format version ${data[4]}; this program reads version ${VERSION}`);
  }
  const name = data.subarray(FIXED, end);
  if (!isName(name)) throw new BitstreamError(`the model name is not valid: ${shown(name)}`);
  const header = {
    version: data[4],
    width: view.getUint32(8, true),
    height: view.getUint32(12, true),
    channels: data[5],
    bitDepth: data[6],
    tile: 2 ** data[7],
    step: view.getUint16(24, true),
    model: ascii(name),
    fingerprint: hex(data.subarray(16, 16 + FINGERPRINT)),
  };
  checkFields(header, data[7]);
  header.grey = header.channels < 3;
  header.alpha = header.channels % 2 === 0;
  header.rows = Math.ceil(header.height / header.tile);
  header.columns = Math.ceil(header.width / header.tile);
  return { header, position: end + CRC };
}

function checkFields(header, tileLog2) {
  const checks = [
    ["tile", tileLog2 >= 8 && tileLog2 <= 14, `2^${tileLog2}`],
    ["width", header.width >= 1 && header.width <= MAX_SIDE, header.width],
    ["height", header.height >= 1 && header.height <= MAX_SIDE, header.height],
    ["channels", header.channels >= 1 && header.channels <= 4, header.channels],
    ["bit depth", header.bitDepth === 8, header.bitDepth],
    ["quality", header.step <= QUALITY_STEPS, header.step],
  ];
  for (const [name, valid, value] of checks) {
    if (!valid) throw new BitstreamError(`${name} is out of range: ${value}`);
  }
}
