// Tiles as what a canvas draws, in the colours that the file's profile means.

import { writePng } from "../format/png.js";

/**
 * A tile {width, height, rgba} -> ImageBitmap. With an ICC profile the tile goes through a PNG that carries it: that is how
 * a browser is asked to convert colours.
 */
export async function bitmapOf({ width, height, rgba }, icc) {
  if (icc) {
    try {
      return await createImageBitmap(await writePng(rgba, height, width, 4, { icc }));
    } catch {
      // A profile that the browser does not take: the pixels are shown as they are.
    }
  }
  return createImageBitmap(new ImageData(rgba, width, height));
}
