// The fields of Exif that people ask for, read from bytes that anybody may have written.

import { ascii, viewOf } from "../format/bytes.js";

const FIELDS = {
  0x010e: "Description",
  0x010f: "Make",
  0x0110: "Camera",
  0x013b: "Artist",
  0x8298: "Copyright",
  0x829a: "Exposure",
  0x829d: "Aperture",
  0x8827: "ISO",
  0x9003: "Taken",
  0x920a: "Focal length",
  0xa434: "Lens",
};
const EXIF_FOLDER = 0x8769;
const MOST_ENTRIES = 512;
const MOST_LETTERS = 400;

/** Bytes -> [[name, text], ...], as far as they can be read. */
export function exifFields(bytes) {
  const data = ascii(bytes.subarray(0, 6)) === "Exif\0\0" ? bytes.subarray(6) : bytes;
  const order = ascii(data.subarray(0, 2));
  if (data.length < 8 || (order !== "II" && order !== "MM")) return [];
  const reader = { data, view: viewOf(data), little: order === "II" };
  try {
    const first = entries(reader, reader.view.getUint32(4, reader.little));
    const folder = first.find(({ tag }) => tag === EXIF_FOLDER);
    const all = folder ? [...first, ...entries(reader, reader.view.getUint32(folder.place + 8, reader.little))] : first;
    return all
      .filter(({ tag }) => FIELDS[tag])
      .map((entry) => [FIELDS[entry.tag], written(entry.tag, value(reader, entry))])
      .filter(([, text]) => text);
  } catch (error) {
    if (error instanceof RangeError) return [];
    throw error;
  }
}

function entries({ view, little }, place) {
  const count = Math.min(view.getUint16(place, little), MOST_ENTRIES);
  return Array.from({ length: count }, (_, number) => {
    const at = place + 2 + 12 * number;
    return { tag: view.getUint16(at, little), kind: view.getUint16(at + 2, little), place: at };
  });
}

/** Text of ASCII, or the first number of others; null for kinds that none of the fields has. */
function value({ data, view, little }, { kind, place }) {
  if (kind === 2) {
    const length = Math.min(view.getUint32(place + 4, little), MOST_LETTERS);
    const start = length > 4 ? view.getUint32(place + 8, little) : place + 8;
    const bytes = data.subarray(start, start + length);
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end)).trim();
  }
  if (kind === 3) return view.getUint16(place + 8, little);
  if (kind === 4) return view.getUint32(place + 8, little);
  if (kind !== 5) return null;
  const start = view.getUint32(place + 8, little);
  return view.getUint32(start, little) / view.getUint32(start + 4, little);
}

function written(tag, found) {
  if (typeof found === "string" || found === null) return found;
  if (!Number.isFinite(found) || found <= 0) return null;
  const short = String(Math.round(found * 100) / 100);
  if (tag === 0x829a) return found < 0.5 ? `1/${Math.round(1 / found)} s` : `${short} s`;
  if (tag === 0x829d) return `f/${short}`;
  return tag === 0x920a ? `${short} mm` : short;
}
