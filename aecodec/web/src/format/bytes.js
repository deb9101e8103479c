// Bytes as people and other bytes: hexadecimal, ASCII, views, and byte strings as Python would show them.

/** Uint8Array -> a DataView of the same bytes. */
export function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Uint8Array -> small hexadecimal digits. */
export function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Uint8Array of ASCII -> text, a byte for each character. */
export function ascii(bytes) {
  return String.fromCharCode(...bytes);
}

/** Uint8Array -> printable text in quotation marks; what cannot be printed as \x and two digits. */
export function shown(bytes) {
  const text = Array.from(bytes, (byte) =>
    byte >= 32 && byte < 127 && byte !== 92 && byte !== 39
      ? String.fromCharCode(byte)
      : `\\x${byte.toString(16).padStart(2, "0")}`,
  );
  return `'${text.join("")}'`;
}

/** Whether a byte is an ASCII letter. */
export function isLetter(byte) {
  return (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122);
}

/** Several Uint8Arrays -> one. */
export function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}
