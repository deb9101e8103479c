// Thumbnails, made one after another of those pictures that are to be seen: .aec files by the decoder, others by the
// browser.

import { bitmapOf } from "../page/bitmap.js";

/** Pixels of a thumbnail at most: what it is shown at, on a screen of two pixels for one. */
const WIDTH = 960;
const HEIGHT = 480;
const QUALITY = 0.85;

/** The size of a picture that is fitted into that of a thumbnail. */
function fitted(width, height) {
  const scale = Math.min(1, WIDTH / width, HEIGHT / height);
  return { scale, width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/**
 * Pictures wait in the order in which they are wanted. What is made of one is kept: an address of a small picture, or why
 * there is none.
 */
export class Thumbnails {
  constructor(decoder) {
    this.decoder = decoder;
    this.made = new Map();
    this.waiting = new Map();
    this.current = null;
    this.paused = false;
  }

  /** Have a picture shown by a tile, at once or when it is made. */
  want(tile) {
    const known = this.made.get(tile.entry);
    if (known) tile.show(known);
    else if (this.current?.entry === tile.entry) this.current.tiles.add(tile);
    else {
      const tiles = this.waiting.get(tile.entry) ?? new Set();
      this.waiting.set(tile.entry, tiles.add(tile));
      this.go();
    }
  }

  /** A tile that is not to be seen any more. What has begun goes on. */
  drop(tile) {
    const tiles = this.waiting.get(tile.entry);
    if (tiles?.delete(tile) && !tiles.size) this.waiting.delete(tile.entry);
  }

  /** Stop until `resume`: the decoder is wanted for something else. */
  pause() {
    this.paused = true;
    this.current?.stop.abort();
  }

  resume() {
    this.paused = false;
    this.go();
  }

  async go() {
    while (!this.paused && !this.current && this.waiting.size) {
      const [entry, tiles] = this.waiting.entries().next().value;
      this.waiting.delete(entry);
      this.current = { entry, tiles, stop: new AbortController() };
      const { signal } = this.current.stop;
      for (const tile of tiles) tile.begin();
      try {
        this.made.set(entry, await this.make(entry, signal, tiles));
      } catch (error) {
        if (signal.aborted) this.waiting = new Map([[entry, tiles], ...this.waiting]);
        else this.made.set(entry, { why: words(error) });
      }
      const made = this.made.get(entry);
      if (made) for (const tile of tiles) tile.show(made);
      this.current = null;
    }
  }

  /** -> {url, width, height}, of the thumbnail and of the whole picture. */
  async make(entry, signal, tiles) {
    const bytes = await entry.read(signal);
    const { canvas, width, height } = await (entry.aec ? this.decoded(bytes, signal, tiles) : scaled(bytes));
    const blob = await canvas.convertToBlob({ type: "image/webp", quality: QUALITY });
    return { url: URL.createObjectURL(blob), width, height };
  }

  async decoded(bytes, signal, tiles) {
    const file = await this.decoder.open(bytes);
    try {
      const { width, height, metadata } = file.info;
      const fit = fitted(width, height);
      const canvas = new OffscreenCanvas(fit.width, fit.height);
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      const drawn = [];
      const draw = async (block) => {
        const bitmap = await bitmapOf(block, metadata.icc);
        drawBlock(context, bitmap, block, fit.scale);
        bitmap.close();
        for (const tile of tiles) tile.progress(canvas);
      };
      await file.decode({ onTile: (block) => drawn.push(draw(block)), signal });
      await Promise.all(drawn);
      return { canvas, width, height };
    } finally {
      file.close();
    }
  }
}

/** Why there is no thumbnail. */
function words({ name, message }) {
  return ["BitstreamError", "TruncatedError"].includes(name) ? `damaged: ${message}` : message;
}

/** Draw a block of a picture into one that is smaller. Its edges fall on whole pixels, so that blocks have no seams. */
function drawBlock(context, bitmap, { x, y, width, height }, scale) {
  const [left, top] = [Math.round(x * scale), Math.round(y * scale)];
  const [right, bottom] = [Math.round((x + width) * scale), Math.round((y + height) * scale)];
  context.drawImage(bitmap, left, top, Math.max(1, right - left), Math.max(1, bottom - top));
}

/** A picture that the browser itself reads, turned upright as its Exif says. */
async function scaled(bytes) {
  let whole;
  try {
    whole = await createImageBitmap(new Blob([bytes]));
  } catch {
    throw new Error("damaged, or no picture that this browser shows");
  }
  const { width, height } = whole;
  const fit = fitted(width, height);
  const canvas = new OffscreenCanvas(fit.width, fit.height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(whole, 0, 0, fit.width, fit.height);
  whole.close();
  return { canvas, width, height };
}
