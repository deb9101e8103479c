// The tree of errors that the Python side has too (aecodec/contracts/errors.py), as far as reading a file needs it.

/** Base of every error that is raised on purpose: its name tells which, its message is one line in words. */
export class AecError extends Error {}

/** A file is damaged: a checksum, a length or a declared size is wrong. */
export class BitstreamError extends AecError {}
/** A file ends before its declared content does. */
export class TruncatedError extends BitstreamError {}
/** A file is of a newer format version, or holds a critical chunk that this program does not know. */
export class UnsupportedVersionError extends BitstreamError {}
/** A picture has more pixels than are decoded. */
export class PictureTooLargeError extends AecError {}
/** A checkpoint is missing, damaged, of an unknown family, or unfit for exact coding. */
export class CheckpointError extends AecError {}
/** The model that a file was written with is not served here. */
export class ModelMismatchError extends CheckpointError {}
/** The browser gave no more memory. */
export class OutOfMemoryError extends AecError {}
/** What nothing here foresaw. */
export class UnexpectedError extends AecError {}

const KINDS = {
  AecError,
  BitstreamError,
  TruncatedError,
  UnsupportedVersionError,
  PictureTooLargeError,
  CheckpointError,
  ModelMismatchError,
  OutOfMemoryError,
  UnexpectedError,
};
// Not by the classes' own names, which a bundler shortens.
for (const [name, Kind] of Object.entries(KINDS)) Kind.prototype.name = name;

/** Any exception -> {name, message} of one line, which travels between a worker and its page. */
export function told(fault) {
  const message = String(fault?.message ?? fault).split("\n")[0] || "no reason was given";
  if (fault instanceof AecError || fault?.name === "AbortError") return { name: fault.name, message };
  // How browsers say it, of arrays and of WebAssembly.
  if (fault instanceof RangeError && /alloc|memory|length/i.test(message)) {
    return { name: "OutOfMemoryError", message: `not enough memory (${message})` };
  }
  return { name: "UnexpectedError", message: `unexpected ${fault?.name ?? "fault"} (${message})` };
}

/** The inverse: an exception of the same name and message. */
export function errorOf({ name, message }) {
  if (name === "AbortError") return new DOMException(message, name);
  return new (KINDS[name] ?? UnexpectedError)(message);
}
