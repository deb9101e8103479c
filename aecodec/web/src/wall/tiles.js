// Tiles: a picture's place on the wall, with its name and what else there is to say. Whatever comes from a name or a file
// is set as text.

/** Tiles that are added at once. */
const BATCH = 120;

/** An element with a class and a text. */
export function element(name, kind, text = "") {
  const made = document.createElement(name);
  made.className = kind;
  made.textContent = text;
  return made;
}

/** Bytes for people: 950 B, 12.3 kB, 4.5 MB. */
export function sizeText(count) {
  let value = count;
  for (const unit of ["B", "kB", "MB"]) {
    if (value < 1000) return unit === "B" ? `${value} B` : `${value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} GB`;
}

/** The address of a picture's own page, behind that of the wall. */
export function linkTo(address) {
  return `#file=${encodeURIComponent(address)}`;
}

/** One tile. distance: in bits from what was searched for; marks: where that comes from. */
export class Tile {
  constructor(entry, { distance = null, marks = [] } = {}) {
    this.entry = entry;
    const { last, folder } = entry.parts;
    this.element = element("a", "tile");
    this.element.title = entry.name;
    if (entry.address !== null) this.element.href = linkTo(entry.address);
    this.frame = element("span", "frame");
    this.remark = element("span", "remark");
    this.element.append(this.frame, element("span", "name", last));
    if (folder) this.element.append(element("span", "folder", folder));
    this.element.append(this.remark);
    this.said = marks;
    if (distance !== null) this.remark.append(element("b", "", `${distance} ${distance === 1 ? "bit" : "bits"}`));
    this.describe([]);
  }

  describe(more) {
    const size = Number.isFinite(this.entry.size) ? [sizeText(this.entry.size)] : [];
    const words = [...more, ...size, ...this.said].join(" · ");
    const [far] = this.remark.querySelectorAll("b");
    this.remark.replaceChildren(...(far ? [far, words && ` · ${words}`] : [words]));
    this.remark.title = this.remark.textContent;
  }

  begin() {
    this.frame.classList.add("busy");
  }

  /** What there is of a thumbnail so far. */
  progress(made) {
    if (!this.canvas) {
      this.canvas = document.createElement("canvas");
      this.frame.replaceChildren(this.canvas);
    }
    this.canvas.width = made.width;
    this.canvas.height = made.height;
    this.canvas.getContext("2d").drawImage(made, 0, 0);
  }

  /** The thumbnail, or why there is none. */
  show({ url, why, width, height }) {
    this.frame.classList.remove("busy");
    this.canvas = null;
    if (why !== undefined) {
      this.frame.replaceChildren(element("span", "why", why));
      return;
    }
    const image = document.createElement("img");
    image.src = url;
    image.alt = this.entry.name;
    image.decoding = "async";
    this.frame.replaceChildren(image);
    this.describe([`${width} × ${height}`]);
  }
}

/** A grid of tiles that grows as it is scrolled; thumbnails are asked for of those that are near the window. */
export class Grid {
  constructor(element, thumbnails, end = null) {
    Object.assign(this, { element, thumbnails, end });
    this.tiles = new Map();
    this.rest = [];
    this.seen = new IntersectionObserver((changes) => this.look(changes), { rootMargin: "50% 0px" });
    if (end) new IntersectionObserver((changes) => changes.at(-1).isIntersecting && this.grow(), { rootMargin: "200% 0px" }).observe(end);
  }

  /** Show these tiles instead of those that were here. */
  fill(tiles) {
    this.clear();
    this.rest = tiles;
    this.grow();
    if (!this.end) while (this.rest.length) this.grow();
  }

  clear() {
    for (const tile of this.tiles.values()) {
      this.seen.unobserve(tile.element);
      this.thumbnails.drop(tile);
    }
    this.tiles.clear();
    this.rest = [];
    this.element.replaceChildren();
  }

  grow() {
    const added = this.rest.slice(0, BATCH);
    this.rest = this.rest.slice(BATCH);
    this.element.append(...added.map((tile) => tile.element));
    for (const tile of added) {
      this.tiles.set(tile.element, tile);
      this.seen.observe(tile.element);
    }
    if (this.rest.length && this.end) {
      const { top } = this.end.getBoundingClientRect();
      if (top < 3 * innerHeight) requestAnimationFrame(() => this.grow());
    }
  }

  look(changes) {
    for (const { target, isIntersecting } of changes) {
      const tile = this.tiles.get(target);
      if (!tile) continue;
      if (isIntersecting) this.thumbnails.want(tile);
      else this.thumbnails.drop(tile);
    }
  }
}
