// aec-decoder: .aec files to pictures, in a browser.

export { AecFile, openAec } from "./codec/file.js";
export { openRuntime } from "./codec/runtime.js";
export { Decoder } from "./client.js";
export * from "./format/errors.js";
export { loadModel, Models } from "./model/models.js";
export { OnnxNetworks } from "./model/networks.js";
