// What the tests of the decoder ask a page for. Served beside what is built, whose library it uses.

import * as aec from "./aec-decoder.js";

const fetched = async (url) => new Uint8Array(await (await fetch(url)).arrayBuffer());

/** Bytes of base64. */
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

const digest = async (bytes) => {
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

/** What opening bytes comes to: the name of an error, or which tiles are damaged. */
async function opened(bytes, partial) {
  try {
    const { info } = await aec.openAec(bytes, { partial });
    return info.damaged.join(" ");
  } catch (error) {
    return error.name;
  }
}

globalThis.probe = {
  /** SHA-256 of the integers of all tiles in order, y before z as int32, and what a file says of itself. */
  async latents(file, model) {
    const opened = await aec.openAec(await fetched(file));
    const { info, parsed } = opened;
    const { coder, stored } = await aec.loadModel(await fetched(model), info.fingerprint);
    const integers = [];
    const [height, width] = [info.height, info.width].map(
      (side) => (Math.ceil(side / coder.alignment) * coder.alignment) / coder.stride,
    );
    const tile = info.tile / coder.stride;
    let index = 0;
    for (let top = 0; top < height; top += tile) {
      for (let left = 0; left < width; left += tile) {
        const size = [Math.min(tile, height - top), Math.min(tile, width - left)];
        const { y, z } = coder.decodeTile(parsed.tiles[index++], info.step, ...size);
        integers.push(y.data, z.data);
      }
    }
    const alpha = await opened.alpha();
    return {
      latents: await digest(await new Blob(integers).arrayBuffer()),
      adapts: coder.adaptation !== null,
      stored: stored.fingerprint,
      info: { ...info, metadata: null, hash: info.hash && { ...info.hash, bits: [...info.hash.bits] } },
      metadata: Object.fromEntries(Object.entries(info.metadata).map(([kind, bytes]) => [kind, [...bytes]])),
      alpha: alpha.alpha && (await digest(alpha.alpha)),
    };
  },

  /** Outcomes of opening files, all or part of them, in the order of their names. */
  async outcomes(files, partial) {
    const found = [];
    for (const file of files) found.push(await opened(typeof file === "string" ? bytesOf(file) : file, partial));
    return found;
  },

  async outcomeOf(url, partial) {
    return opened(await fetched(url), partial);
  },

  /** Outcomes of every truncation of a file, and of every flip of a bit. */
  async everyDamage(file, partial) {
    const whole = bytesOf(file);
    const found = [];
    for (let length = 0; length < whole.length; length++) found.push(await opened(whole.subarray(0, length), partial));
    for (let bit = 0; bit < 8 * whole.length; bit++) {
      whole[bit >> 3] ^= 1 << (bit & 7);
      found.push(await opened(whole, partial));
      whole[bit >> 3] ^= 1 << (bit & 7);
    }
    return found;
  },

  /** The filters of files, each as [planes, weights, biases], or what is said against one. */
  async filters(files) {
    const found = [];
    for (const file of files) {
      try {
        const { planes, weights, biases } = (await aec.openAec(bytesOf(file))).parsed.side.filter;
        found.push([planes, [...weights], [...biases]]);
      } catch (error) {
        found.push(`${error.name}: ${error.message}`);
      }
    }
    return found;
  },

  /** A file decoded by the worker: the picture as a PNG in base64, whether its tiles make the same, and what was lost. */
  async decoded(url, partial = false) {
    globalThis.decoder ??= new aec.Decoder();
    try {
      const file = await decoder.open(await fetched(url), { partial });
      const { width, height, metadata } = file.info;
      let whole = null;
      const order = [];
      const onTile = (tile) => {
        whole ??= new Uint8ClampedArray(4 * width * height);
        order.push([tile.y, tile.x]);
        for (let row = 0; row < tile.height; row++) {
          const line = tile.rgba.subarray(4 * row * tile.width, 4 * (row + 1) * tile.width);
          whole.set(line, 4 * ((tile.y + row) * width + tile.x));
        }
      };
      const result = await file.decode({ onTile, keep: true });
      const png = new Uint8Array(await (await file.png()).arrayBuffer());
      file.close();
      let text = "";
      for (const byte of png) text += String.fromCharCode(byte);
      return { ...result, order, png: btoa(text), rgba: await digest(whole), metadata: Object.keys(metadata) };
    } catch (error) {
      return { error: error.name, message: error.message };
    }
  },

  /** The name of the error that a decoding ends with which is stopped when its first tile arrives. */
  async stopped(url) {
    const decoder = new aec.Decoder();
    const stop = new AbortController();
    let tiles = 0;
    const onTile = () => {
      tiles += 1;
      stop.abort();
    };
    const file = await decoder.open(await fetched(url));
    const outcome = await file.decode({ onTile, signal: stop.signal }).then(
      () => "decoded",
      (error) => error.name,
    );
    const again = await file.decode({}).then(
      () => "decoded",
      (error) => error.name,
    );
    decoder.end();
    return [outcome, tiles, again];
  },
};
