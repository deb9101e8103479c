// The worker: opens and decodes files, so that the page stays alive. Speaks with `Decoder` of client.js.

import { openAec } from "./codec/file.js";
import { openRuntime } from "./codec/runtime.js";
import { CheckpointError, told } from "./format/errors.js";
import { Models } from "./model/models.js";
import { OnnxNetworks } from "./model/networks.js";

const here = new URL(".", import.meta.url);
const gpu = new URL(import.meta.url).searchParams.get("gpu") !== "no";
const models = new Models(new URL("models/", here));
const files = new Map();
/** Fingerprint -> networks. */
const networks = new Map();
let runtime = null;
/** Number of a job that is waiting or running -> what stops it. */
const stops = new Map();

/** The runtime, started when it is first needed, and again after it could not be. */
async function started() {
  runtime ??= openRuntime(new URL("ort/", here), { gpu });
  try {
    return await runtime;
  } catch (error) {
    runtime = null;
    throw new CheckpointError(`ONNX Runtime cannot be started (${error.message})`);
  }
}

function networksOf(stored, { ort, providers }) {
  const { fingerprint } = stored;
  if (!networks.has(fingerprint)) networks.set(fingerprint, new OnnxNetworks(ort, stored, providers));
  return networks.get(fingerprint);
}

const jobs = {
  async open({ id, bytes, partial }) {
    const file = await openAec(new Uint8Array(bytes), { partial });
    files.set(id, file);
    return { info: file.info };
  },

  async decode({ id, file: number, keep }) {
    const file = files.get(number);
    const { signal } = stops.get(id);
    signal.throwIfAborted();
    // Both are fetched at once.
    const [{ stored, coder }, opened] = await Promise.all([models.find(file.info), started()]);
    const onTile = (tile) => postMessage({ id, tile }, [tile.rgba.buffer]);
    const result = await file.decode({ coder, networks: networksOf(stored, opened), onTile, keep, signal });
    return { ...result, computed: opened.name };
  },

  async png({ file }) {
    return { blob: await files.get(file).png() };
  },

  async close({ file }) {
    files.delete(file);
    return {};
  },
};

let last = Promise.resolve();
onmessage = ({ data }) => {
  if (data.do === "stop") {
    stops.get(data.id)?.abort();
    return;
  }
  stops.set(data.id, new AbortController());
  last = last.then(async () => {
    try {
      postMessage({ id: data.id, result: await jobs[data.do](data) });
    } catch (error) {
      postMessage({ id: data.id, error: told(error) });
    }
    stops.delete(data.id);
  });
};
