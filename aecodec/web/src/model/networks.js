// A checkpoint's graphs run by ONNX Runtime Web, each session made when it is first needed (aecodec/engine/networks.py).

import { CheckpointError } from "../format/errors.js";
import { withWeights } from "./graph.js";
import { floats } from "./stored.js";

/** ort: the module onnxruntime-web; stored: see `readStored`; providers: of each network by name, or of all others "". */
export class OnnxNetworks {
  constructor(ort, stored, providers = {}) {
    Object.assign(this, { ort, stored, providers });
    this.sessions = new Map();
  }

  /** Inputs {name: [Float32Array, shape]} -> Float32Array of a shape. Throws CheckpointError for anything else. */
  async run(name, shape, inputs) {
    if (!this.sessions.has(name)) this.sessions.set(name, await this.open(name));
    const session = this.sessions.get(name);
    const { Tensor } = this.ort;
    const feeds = Object.entries(inputs).map(([key, [data, sides]]) => [key, new Tensor("float32", data, sides)]);
    let out;
    try {
      out = Object.values(await session.run(Object.fromEntries(feeds)))[0];
    } catch (error) {
      throw new CheckpointError(`network ${name} fails (${error.message})`);
    }
    if (out.type !== "float32" || out.dims.join() !== shape.join()) {
      throw new CheckpointError(`network ${name} gave ${out.type} of shape ${out.dims}, not float32 of ${shape}`);
    }
    const data = await out.getData();
    // NaN and infinities, and nothing else, times 0 are not 0.
    let finite = 0;
    for (let n = 0; n < data.length; n++) finite += data[n] * 0;
    if (finite !== 0) throw new CheckpointError(`network ${name} gave values that are not finite`);
    return data;
  }

  async open(name) {
    const { graphs, tensors } = this.stored;
    if (!graphs[name]) throw new CheckpointError(`the model holds no graph of its network ${name}`);
    const graph = withWeights(graphs[name], (weight) => floats(tensors[weight], weight));
    const executionProviders = this.providers[name] ?? this.providers[""] ?? ["wasm"];
    try {
      return await this.ort.InferenceSession.create(graph, { executionProviders, logSeverityLevel: 3 });
    } catch (error) {
      throw new CheckpointError(`the graph of its network ${name} cannot be run (${error.message})`);
    }
  }

  async end() {
    await Promise.all(Array.from(this.sessions.values(), (session) => session.release()));
    this.sessions.clear();
  }
}
