// The tiles of a picture: where they lie, and what each sees of its neighbours (aecodec/codec/tiles.py).

import { Window } from "./window.js";

/** A picture padded to a model's alignment, cut into squares; everything in latent positions. */
export class Grid {
  /**
   * coder: of the model; height, width: of the picture, and tile: the side of its squares, in pixels; beyond: latents
   * that are seen around them beside those that the transforms see.
   */
  constructor(coder, height, width, tile, beyond = 0) {
    const padded = (side) => (Math.ceil(side / coder.alignment) * coder.alignment) / coder.stride;
    this.height = padded(height);
    this.width = padded(width);
    this.side = tile / coder.stride;
    this.context = coder.context + beyond;
    this.rows = Math.ceil(this.height / this.side);
    this.columns = Math.ceil(this.width / this.side);
  }

  /** The square of an index, in raster order. */
  place(index) {
    const top = Math.floor(index / this.columns) * this.side;
    const left = (index % this.columns) * this.side;
    return new Window(top, left, Math.min(top + this.side, this.height), Math.min(left + this.side, this.width));
  }

  /** A square with what is seen around it. */
  window(place) {
    return place.grown(this.context, this.height, this.width);
  }

  /** Indices of the squares of a row; none where there is no such row. */
  row(row) {
    if (row < 0 || row >= this.rows) return [];
    return Array.from({ length: this.columns }, (_, column) => row * this.columns + column);
  }

  /** Indices of the squares that a square's window touches, itself among them. */
  seen(index) {
    const row = Math.floor(index / this.columns);
    const window = this.window(this.place(index));
    return [row - 1, row, row + 1].flatMap((r) => this.row(r)).filter((other) => this.place(other).touches(window));
  }
}
