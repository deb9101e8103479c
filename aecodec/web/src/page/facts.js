// What a file says of itself, as lists of names and values. All of it is set as text: files are by anybody.

import { ascii, hex, viewOf } from "../format/bytes.js";
import { exifFields } from "./exif.js";

const CHANNELS = [null, "grey", "grey and alpha", "RGB", "RGB and alpha"];
const MOST_TEXT = 20_000;

/** element("dt", "text") -> an element with text in it, or with children. */
export function element(name, ...content) {
  const made = document.createElement(name);
  made.append(...content);
  return made;
}

/** A number of bytes for people, as the commands write it. */
export function inBytes(count) {
  if (count < 1000) return `${count} bytes`;
  return count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

/** info: see codec/file.js -> elements for the panel of details. */
export function factsOf(info) {
  const parts = [
    section("Picture", [
      ["Size", `${info.width} × ${info.height} pixels, ${megapixels(info)} megapixels`],
      ["Channels", `${CHANNELS[info.channels]}, ${info.bitDepth} bits`],
      ["Quality", `${info.quality} of 100`],
    ]),
    section("File", [
      ["Bytes", `${inBytes(info.bytes)}, ${((8 * info.bytes) / (info.width * info.height)).toFixed(3)} bits per pixel`],
      ["Tiles", `${info.columns} × ${info.rows} of ${info.tile} pixels`],
      ["Model", `${info.model}, fingerprint ${info.fingerprint}`],
      ["Version", String(info.version)],
    ]),
    section("Semantic hash", hashRows(info.hash)),
  ];
  const { exif, icc, xmp } = info.metadata;
  if (exif) parts.push(section("Exif", [...exifFields(exif), ["Bytes", inBytes(exif.length)]]));
  if (icc) parts.push(section("Colour profile", [["Name", profileName(icc)], ["Bytes", inBytes(icc.length)]]));
  if (xmp) parts.push(...xmpParts(xmp));
  if (!exif && !icc && !xmp) parts.push(section("Metadata", [["Kept", "none"]]));
  return parts.flat();
}

function megapixels({ width, height }) {
  return ((width * height) / 1e6).toFixed(1);
}

function section(title, rows) {
  return [element("h2", title), element("dl", ...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]))];
}

function hashRows(hash) {
  if (!hash) return [["Kept", "none"]];
  return [
    ["Code", hex(hash.bits)],
    ["Bits", String(8 * hash.bits.length)],
    ["Hasher", `${hash.hasher}, fingerprint ${hash.fingerprint}`],
  ];
}

function xmpParts(xmp) {
  const text = new TextDecoder().decode(xmp.subarray(0, MOST_TEXT));
  const shown = element("details", element("summary", `${inBytes(xmp.length)} of text`), element("pre", text));
  return [element("h2", "XMP"), shown];
}

/** The description of an ICC profile (its tag "desc", as text or in several languages), or words for none. */
function profileName(icc) {
  try {
    const view = viewOf(icc);
    const count = Math.min(view.getUint32(128), 100);
    for (let place = 132; place < 132 + 12 * count; place += 12) {
      if (ascii(icc.subarray(place, place + 4)) !== "desc") continue;
      const start = view.getUint32(place + 4);
      if (ascii(icc.subarray(start, start + 4)) === "mluc") {
        const from = start + view.getUint32(start + 24);
        return new TextDecoder("utf-16be").decode(icc.subarray(from, from + Math.min(view.getUint32(start + 20), 400)));
      }
      return ascii(icc.subarray(start + 12, start + 12 + Math.min(Math.max(view.getUint32(start + 8) - 1, 0), 200)));
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return "without a name";
}
