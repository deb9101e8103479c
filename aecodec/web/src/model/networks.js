// A checkpoint's graphs run by ONNX Runtime Web, each session made when it is first needed (aecodec/engine/networks.py).

import { CheckpointError } from "../format/errors.js";
import { withWeights } from "./graph.js";
import { floats } from "./stored.js";

/** ort: the module onnxruntime-web; stored: see `readStored`; providers: what computes a network, by its name; WebAssembly
 * computes those that are not named, and any whose own provider fails, as a graphics processor does without memory. */
export class OnnxNetworks {
  constructor(ort, stored, providers = {}) {
    Object.assign(this, { ort, stored, providers: { ...providers } });
    this.sessions = new Map();
  }

  /** Inputs {name: [Float32Array, shape]} -> Float32Array of a shape. Throws CheckpointError for anything else. */
  async run(name, shape, inputs) {
    let out;
    try {
      out = await this.output(name, inputs);
    } catch (error) {
      if (!this.providers[name]) throw error;
      delete this.providers[name];
      this.sessions.delete(name);
      out = await this.output(name, inputs);
    }
    if (out.type !== "float32" || out.dims.join() !== shape.join()) {
      throw new CheckpointError(`network ${name} gave ${out.type} of shape ${out.dims}, not float32 of ${shape}`);
    }
    // NaN and infinities, and nothing else, times 0 are not 0.
    let finite = 0;
    for (let n = 0; n < out.data.length; n++) finite += out.data[n] * 0;
    if (finite !== 0) throw new CheckpointError(`network ${name} gave values that are not finite`);
    return out.data;
  }

  /** What a network gives: {type, dims, data}. Throws CheckpointError. */
  async output(name, inputs) {
    if (!this.sessions.has(name)) this.sessions.set(name, await this.open(name));
    const { Tensor } = this.ort;
    const feeds = Object.entries(inputs).map(([key, [data, sides]]) => [key, new Tensor("float32", data, sides)]);
    try {
      const [out] = Object.values(await this.sessions.get(name).run(Object.fromEntries(feeds)));
      return { type: out.type, dims: out.dims, data: await out.getData() };
    } catch (error) {
      throw new CheckpointError(`network ${name} fails (${error.message})`);
    }
  }

  async open(name) {
    const { graphs, tensors } = this.stored;
    if (!graphs[name]) throw new CheckpointError(`the model holds no graph of its network ${name}`);
    const graph = withWeights(graphs[name], (weight) => floats(tensors[weight], weight));
    const executionProviders = this.providers[name] ?? ["wasm"];
    try {
      return await this.ort.InferenceSession.create(graph, { executionProviders, logSeverityLevel: 3 });
    } catch (error) {
      throw new CheckpointError(`the graph of its network ${name} cannot be run (${error.message})`);
    }
  }
}
