// Models by the fingerprint that a file asks for, from where the page comes from.

import { CheckpointError, ModelMismatchError, UnsupportedVersionError } from "../format/errors.js";
import { ExactHyperpriorCoder, FAMILY } from "../latents/exact_hyperprior.js";
import { readStored } from "./stored.js";

/** The family whose files hold their own networks. */
const OVERFITTED = "overfitted";

/** base: URL of the folder that holds FINGERPRINT.safetensors. Each model is fetched once. */
export class Models {
  constructor(base) {
    this.base = base;
    this.loaded = new Map();
  }

  /** {stored, coder} of the model that a header asks for. Throws ModelMismatchError or CheckpointError. */
  find(header) {
    const { fingerprint } = header;
    if (!this.loaded.has(fingerprint)) {
      const loading = this.load(header);
      this.loaded.set(fingerprint, loading);
      loading.catch(() => this.loaded.delete(fingerprint));
    }
    return this.loaded.get(fingerprint);
  }

  async load({ model, fingerprint }) {
    if (model === OVERFITTED) {
      throw new UnsupportedVersionError(
        `a file of ${model}, which browsers do not decode; \`aecodec decompress\` does`,
      );
    }
    let answer;
    try {
      answer = await fetch(new URL(`${fingerprint}.safetensors`, this.base));
    } catch (error) {
      throw new CheckpointError(`the model ${model} could not be fetched (${error.message})`);
    }
    if (answer.status === 404) {
      throw new ModelMismatchError(
        `the file needs model ${model} with fingerprint ${fingerprint}, which is not served here`,
      );
    }
    if (!answer.ok) throw new CheckpointError(`the model ${model} could not be fetched (status ${answer.status})`);
    return loadModel(new Uint8Array(await answer.arrayBuffer()), fingerprint);
  }
}

/** Bytes of a checkpoint -> {stored, coder}. Throws CheckpointError, ModelMismatchError for another fingerprint. */
export async function loadModel(data, fingerprint) {
  const stored = await readStored(data);
  if (stored.fingerprint !== fingerprint) {
    throw new ModelMismatchError(`the file needs fingerprint ${fingerprint}; this is ${stored.fingerprint}`);
  }
  if (stored.family !== FAMILY) {
    throw new CheckpointError(`models of the family ${stored.family} are not decoded in a browser, ${FAMILY} is`);
  }
  return { stored, coder: new ExactHyperpriorCoder(stored) };
}
