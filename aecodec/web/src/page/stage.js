// The canvas that shows a picture's tiles: zoomed and moved by wheel, pointers and keys.

/** Largest and smallest number of screen pixels for a pixel of the picture; the step of a key. */
const LARGEST = 32;
const SMALLEST = 1 / 64;
const STEP = 1.25;
/** Pixels become squares from this scale on. */
const SQUARES = 2;
const CHECKS = 8;

export class Stage {
  /** canvas: fills its place on the page; onScale: told of each new scale. */
  constructor(canvas, onScale = () => {}) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.onScale = onScale;
    this.pointers = new Map();
    this.clear();
    new ResizeObserver(() => this.resize()).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
  }

  clear() {
    for (const { bitmap } of this.tiles ?? []) bitmap.close();
    this.tiles = [];
    this.size = null;
    this.draw();
  }

  /** A picture of a size in pixels is to come. see-through: whether it has an alpha plane. */
  begin({ width, height, alpha }) {
    this.clear();
    this.size = { width, height, alpha };
    this.fit();
  }

  /** Shows a bitmap with its corner at (x, y) of the picture. */
  add(bitmap, { x, y }) {
    this.tiles.push({ bitmap, x, y });
    this.draw();
  }

  /** All of the picture, not enlarged. */
  fit() {
    if (!this.size) return;
    const { width, height } = this.canvas;
    this.fitted = true;
    this.scale = Math.min(width / this.size.width, height / this.size.height, 1) || SMALLEST;
    this.centre = { x: this.size.width / 2, y: this.size.height / 2 };
    this.changed();
  }

  /** One pixel of the picture on one of the screen. */
  actual() {
    this.zoom(1 / this.scale);
  }

  larger() {
    this.zoom(STEP);
  }

  smaller() {
    this.zoom(1 / STEP);
  }

  /** Multiplies the scale; the place of the canvas that is given, its middle by default, stays where it is. */
  zoom(factor, { x, y } = { x: this.canvas.width / 2, y: this.canvas.height / 2 }) {
    if (!this.size) return;
    const scale = Math.min(Math.max(this.scale * factor, Math.min(SMALLEST, this.scale)), LARGEST);
    const [right, down] = [x - this.canvas.width / 2, y - this.canvas.height / 2];
    this.centre.x += right / this.scale - right / scale;
    this.centre.y += down / this.scale - down / scale;
    this.scale = scale;
    this.fitted = false;
    this.changed();
  }

  /** Moves what is seen by a distance on the screen. */
  move(right, down) {
    if (!this.size) return;
    this.centre.x += right / this.scale;
    this.centre.y += down / this.scale;
    this.fitted = false;
    this.changed();
  }

  changed() {
    const { width, height } = this.size;
    this.centre.x = Math.min(Math.max(this.centre.x, 0), width);
    this.centre.y = Math.min(Math.max(this.centre.y, 0), height);
    this.onScale(this.scale);
    this.draw();
  }

  resize() {
    const ratio = window.devicePixelRatio;
    this.canvas.width = Math.max(Math.round(this.canvas.clientWidth * ratio), 1);
    this.canvas.height = Math.max(Math.round(this.canvas.clientHeight * ratio), 1);
    if (this.fitted) this.fit();
    else this.draw();
  }

  draw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.paint();
    });
  }

  paint() {
    const { context, canvas, size } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!size) return;
    const left = Math.round(canvas.width / 2 - this.centre.x * this.scale);
    const top = Math.round(canvas.height / 2 - this.centre.y * this.scale);
    // Edges on whole pixels of the screen, so that no seams show between tiles.
    const at = (value) => Math.round(value * this.scale);
    context.fillStyle = size.alpha ? this.checks() : "rgb(128 128 128 / 25%)";
    context.fillRect(left, top, at(size.width), at(size.height));
    context.imageSmoothingEnabled = this.scale < SQUARES;
    context.imageSmoothingQuality = "high";
    for (const { bitmap, x, y } of this.tiles) {
      const [from, above] = [left + at(x), top + at(y)];
      const [width, height] = [at(x + bitmap.width) - at(x), at(y + bitmap.height) - at(y)];
      if (from < canvas.width && above < canvas.height && from + width > 0 && above + height > 0) {
        context.drawImage(bitmap, from, above, Math.max(width, 1), Math.max(height, 1));
      }
    }
  }

  checks() {
    const cell = document.createElement("canvas");
    cell.width = cell.height = 2 * CHECKS;
    const context = cell.getContext("2d");
    context.fillStyle = "#ccc";
    context.fillRect(0, 0, 2 * CHECKS, 2 * CHECKS);
    context.fillStyle = "#999";
    context.fillRect(0, 0, CHECKS, CHECKS);
    context.fillRect(CHECKS, CHECKS, CHECKS, CHECKS);
    return this.context.createPattern(cell, "repeat");
  }

  // -- pointers --------------------------------------------------------------------------------

  place({ offsetX, offsetY }) {
    return { x: offsetX * window.devicePixelRatio, y: offsetY * window.devicePixelRatio };
  }

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode ? 30 : 1;
    this.zoom(2 ** ((-event.deltaY * lines) / 300), this.place(event));
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.place(event));
  }

  /** One pointer moves the picture, two also zoom it about their middle. */
  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.place(event);
    const others = Array.from(this.pointers.entries(), ([id, place]) => (id === event.pointerId ? null : place));
    const other = others.find(Boolean);
    if (other) {
      const distance = (place) => Math.hypot(place.x - other.x, place.y - other.y) || 1;
      this.zoom(distance(now) / distance(before), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    }
    const share = other ? 2 : 1;
    this.move((before.x - now.x) / share, (before.y - now.y) / share);
    this.pointers.set(event.pointerId, now);
  }
}
