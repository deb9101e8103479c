// The page's side of the worker: files are opened and decoded there, and what comes of it is told by promises.

import { AecError, errorOf, UnexpectedError } from "./format/errors.js";

export { AecError };

/** A worker of its own, whose jobs run one after another. */
export class Decoder {
  /** gpu: whether WebGPU may be used; worker: URL of the script. */
  constructor({ gpu = true, worker = new URL("worker.js", document.baseURI) } = {}) {
    const url = new URL(worker);
    if (!gpu) url.searchParams.set("gpu", "no");
    this.jobs = new Map();
    this.count = 0;
    this.worker = new Worker(url, { type: "module" });
    this.worker.onmessage = ({ data }) => this.take(data);
    this.worker.onerror = (event) => this.fail(event.message ?? "its script could not be loaded");
  }

  /**
   * Bytes (ArrayBuffer, which is given away, or Uint8Array, which is copied) -> an opened file.
   *
   * partial: keep what is whole of a damaged one. Rejects with errors of the names told in format/errors.js.
   */
  async open(bytes, { partial = false } = {}) {
    const buffer = bytes instanceof ArrayBuffer ? bytes : bytes.slice().buffer;
    const { id, result } = this.ask({ do: "open", bytes: buffer, partial }, { transfer: [buffer] });
    return new OpenedFile(this, id, (await result).info);
  }

  ask(message, { transfer = [], onTile } = {}) {
    const id = ++this.count;
    const result = new Promise((resolve, reject) => this.jobs.set(id, { resolve, reject, onTile }));
    this.worker.postMessage({ id, ...message }, transfer);
    return { id, result };
  }

  take({ id, tile, result, error }) {
    const job = this.jobs.get(id);
    if (!job) return;
    if (tile) {
      job.onTile?.(tile);
      return;
    }
    this.jobs.delete(id);
    if (error) job.reject(errorOf(error));
    else job.resolve(result);
  }

  fail(message) {
    for (const { reject } of this.jobs.values()) reject(new UnexpectedError(`the decoder stopped (${message})`));
    this.jobs.clear();
  }

  /** Ends the worker; what is still being done is rejected. */
  end() {
    this.worker.terminate();
    this.fail("it was ended");
  }
}

/** A file in the worker. info: what it says of itself, see codec/file.js. */
class OpenedFile {
  constructor(decoder, id, info) {
    Object.assign(this, { decoder, id, info });
  }

  /**
   * Calls onTile({x, y, width, height, rgba}) as blocks are decoded -> {lost, notices, computed}: tiles that are grey,
   * what else is lost, and what computed ("WebGPU" or "WebAssembly").
   *
   * keep: hold the picture for `png`. signal: an AbortSignal, upon which it ends with an AbortError.
   */
  async decode({ onTile, keep = false, signal } = {}) {
    signal?.throwIfAborted();
    const { id, result } = this.decoder.ask({ do: "decode", file: this.id, keep }, { onTile });
    const stop = () => this.decoder.worker.postMessage({ id, do: "stop" });
    signal?.addEventListener("abort", stop, { once: true });
    try {
      return await result;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  /** The picture as a PNG (Blob), after `decode` with keep. */
  async png() {
    return (await this.decoder.ask({ do: "png", file: this.id }).result).blob;
  }

  /** Forgets the file in the worker. */
  close() {
    this.decoder.ask({ do: "close", file: this.id }).result.catch(() => {});
  }
}
