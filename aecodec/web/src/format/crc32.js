// CRC-32 of zlib and PNG (reflected, polynomial 0xEDB88320), four bytes at a time (Intel's slicing).

const SLICES = 4;
const TABLES = Array.from({ length: SLICES }, () => new Uint32Array(256));
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  TABLES[0][byte] = crc;
}
for (let slice = 1; slice < SLICES; slice++) {
  for (let byte = 0; byte < 256; byte++) {
    const before = TABLES[slice - 1][byte];
    TABLES[slice][byte] = (before >>> 8) ^ TABLES[0][before & 255];
  }
}

/** bytes: Uint8Array; before: the CRC of what comes before them -> the CRC of both, an unsigned 32-bit integer. */
export function crc32(bytes, before = 0) {
  const [t0, t1, t2, t3] = TABLES;
  let crc = ~before;
  let place = 0;
  for (const end = bytes.length - 3; place < end; place += 4) {
    crc ^= bytes[place] | (bytes[place + 1] << 8) | (bytes[place + 2] << 16) | (bytes[place + 3] << 24);
    crc = t3[crc & 255] ^ t2[(crc >>> 8) & 255] ^ t1[(crc >>> 16) & 255] ^ t0[crc >>> 24];
  }
  for (; place < bytes.length; place++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[place]) & 255];
  return ~crc >>> 0;
}
