// Bundles the pages, the worker and the library into dist/, with everything that they load beside them.

import { build } from "esbuild";
import { cp, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
/** Where to: the folder that is given, or dist. */
const dist = process.argv[2] ?? join(here, "dist");
const modules = join(here, "node_modules");
/** The two builds of ONNX Runtime that codec/runtime.js chooses from: with nothing, and with WebGPU and JSPI. */
const RUNTIMES = ["ort-wasm-simd-threaded", "ort-wasm-simd-threaded.jspi"];

async function bundle() {
  const pages = (await readdir(join(here, "src/pages"))).filter((name) => name.endsWith(".js"));
  const entryPoints = [
    { in: join(here, "src/index.js"), out: "aec-decoder" },
    { in: join(here, "src/worker.js"), out: "worker" },
    ...pages.map((name) => ({ in: join(here, "src/pages", name), out: name.slice(0, -".js".length) })),
  ];
  return build({
    entryPoints,
    outdir: dist,
    bundle: true,
    format: "esm",
    splitting: true,
    chunkNames: "chunks/[name]-[hash]",
    minify: true,
    target: "es2022",
    conditions: ["onnxruntime-web-use-extern-wasm"],
    legalComments: "none",
    logLevel: "warning",
  });
}

async function sizes(folder, prefix = "") {
  const lines = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) lines.push(...(await sizes(path, `${prefix}${entry.name}/`)));
    else {
      const content = await readFile(path);
      lines.push([prefix + entry.name, content.length, gzipSync(content, { level: 9 }).length]);
    }
  }
  return lines;
}

await rm(dist, { recursive: true, force: true });
await mkdir(join(dist, "ort"), { recursive: true });
await bundle();
await cp(join(here, "static"), dist, { recursive: true });
for (const name of RUNTIMES) {
  for (const suffix of [".mjs", ".wasm"]) {
    await cp(join(modules, "onnxruntime-web/dist", name + suffix), join(dist, "ort", name + suffix));
  }
}
let total = [0, 0];
for (const [name, raw, packed] of await sizes(dist)) {
  total = [total[0] + raw, total[1] + packed];
  console.log(`${String(raw).padStart(10)} ${String(packed).padStart(9)}  ${name}`);
}
console.log(`${String(total[0]).padStart(10)} ${String(total[1]).padStart(9)}  bytes, and compressed by gzip`);
