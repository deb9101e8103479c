// ONNX Runtime Web, from beside this script: its build with WebGPU where the browser has that, plain WebAssembly else.

/** Where WebGPU is to be had: an adapter, and WebAssembly that can wait for it (JSPI), which keeps that build small. */
async function hasWebGpu() {
  if (!globalThis.navigator?.gpu || !("Suspending" in WebAssembly)) return false;
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  return adapter !== null;
}

/**
 * {ort, providers, name}: the runtime, which of its providers computes which network, and what that is called.
 *
 * base: URL of the folder that its files lie in. gpu: whether WebGPU may be used. Only the synthesis is worth the way to a
 * graphics processor and back; what decides how bytes are read is integers, and never computed there.
 */
export async function openRuntime(base, { gpu = true } = {}) {
  const webGpu = gpu && (await hasWebGpu());
  const ort = await (webGpu ? import("onnxruntime-web/jspi") : import("onnxruntime-web/wasm"));
  ort.env.wasm.wasmPaths = new URL(base).href;
  ort.env.logLevel = "error";
  // Threads share memory, which a browser allows pages that their server isolates (COOP and COEP).
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 8) : 1;
  const providers = webGpu ? { synthesis: ["webgpu", "wasm"] } : {};
  return { ort, providers, name: webGpu ? "WebGPU" : "WebAssembly" };
}
