// Rectangles of a picture (aecodec/data/tiling.py).

/** Rows top ... bottom - 1 and columns left ... right - 1. */
export class Window {
  constructor(top, left, bottom, right) {
    Object.assign(this, { top, left, bottom, right });
  }

  get height() {
    return this.bottom - this.top;
  }

  get width() {
    return this.right - this.left;
  }

  /** The window with a margin on every side, as far as a whole of (height, width) goes. */
  grown(margin, height, width) {
    return this.moved(-margin, -margin, margin, margin).intersection(new Window(0, 0, height, width));
  }

  /** The same rectangle in the coordinates of a window around it. */
  within({ top, left }) {
    return this.moved(-top, -left, -top, -left);
  }

  times(stride) {
    return new Window(this.top * stride, this.left * stride, this.bottom * stride, this.right * stride);
  }

  divided(stride) {
    return this.times(1 / stride);
  }

  touches(other) {
    const rows = this.top < other.bottom && other.top < this.bottom;
    return rows && this.left < other.right && other.left < this.right;
  }

  /** What two rectangles that touch have in common. */
  intersection(other) {
    return new Window(
      Math.max(this.top, other.top),
      Math.max(this.left, other.left),
      Math.min(this.bottom, other.bottom),
      Math.min(this.right, other.right),
    );
  }

  equals(other) {
    return ["top", "left", "bottom", "right"].every((side) => this[side] === other[side]);
  }

  moved(top, left, bottom, right) {
    return new Window(this.top + top, this.left + left, this.bottom + bottom, this.right + right);
  }
}
