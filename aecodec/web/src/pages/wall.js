// The page of a folder: its pictures as a wall, one of them alone, and those that look like a picture that is dropped.

import { Decoder } from "../client.js";
import { Dropped, readManifest } from "../wall/manifest.js";
import { search } from "../wall/search.js";
import { Single } from "../wall/single.js";
import { Thumbnails } from "../wall/thumbnails.js";
import { Grid, linkTo, Tile } from "../wall/tiles.js";

const at = (id) => document.getElementById(id);

class Page {
  constructor(manifest) {
    this.manifest = manifest;
    this.decoder = new Decoder();
    this.thumbnails = new Thumbnails(this.decoder);
    this.wall = new Grid(at("wall"), this.thumbnails, at("end"));
    this.hits = new Grid(at("hits"), this.thumbnails);
    const parts = Object.fromEntries(["view", "image", "alone", "before", "after"].map((id) => [id, at(id)]));
    this.single = new Single(parts, this.decoder);
    this.byAddress = new Map(manifest.entries.map((entry) => [entry.address, entry]));
    /** What was dropped last. */
    this.dropped = null;
    this.place = 0;
    /** Whether the wall was shown before the picture that is shown alone. */
    this.came = false;
    /** The pictures on the wall, or those that were found. */
    this.shown = manifest.entries;
  }

  begin() {
    const { title, notes, entries, search: index } = this.manifest;
    document.title = title;
    at("title").textContent = title;
    at("count").textContent = `${entries.length} ${entries.length === 1 ? "picture" : "pictures"}`;
    at("search").hidden = !index;
    say(entries.length ? notes.join("; ") : ["There are no pictures here.", ...notes].join(" "));
    this.wall.fill(entries.map((entry) => new Tile(entry)));
    addEventListener("hashchange", () => this.follow());
    addEventListener("keydown", (event) => this.press(event));
    at("query").addEventListener("change", ({ target }) => this.ask(target.files[0]));
    at("turned").addEventListener("change", () => this.dropped && !at("found").hidden && this.ask(this.dropped.file));
    at("leave").addEventListener("click", () => this.leave());
    at("before").addEventListener("click", () => this.step(-1));
    at("after").addEventListener("click", () => this.step(1));
    at("back").addEventListener("click", () => this.all());
    at("size").addEventListener("input", ({ target }) =>
      document.documentElement.style.setProperty("--high", `${target.value}px`),
    );
    this.takeDrops();
    this.follow();
  }

  /** Files may be dropped anywhere. */
  takeDrops() {
    const over = (is) => document.body.classList.toggle("over", is);
    addEventListener("dragover", (event) => {
      event.preventDefault();
      over(true);
    });
    addEventListener("dragleave", (event) => event.relatedTarget === null && over(false));
    addEventListener("drop", (event) => {
      event.preventDefault();
      over(false);
      const [file] = event.dataTransfer.files;
      if (file) this.take(file);
    });
  }

  take(file) {
    if (this.manifest.search) this.ask(file);
    else this.open(file);
  }

  /** Show a file that was dropped, alone. */
  open(file) {
    this.dropped = new Dropped(file);
    if (location.hash === "#dropped") this.follow();
    else location.hash = "#dropped";
  }

  /** What looks like a file. */
  async ask(file) {
    if (!file) return;
    this.dropped = new Dropped(file);
    if (location.hash) history.pushState(null, "", "#");
    this.follow();
    say(`searching for ${file.name} ...`);
    let found;
    try {
      found = await search(this.manifest.search, file, at("turned").checked);
    } catch (error) {
      if (this.dropped.file === file) say(error.message, true);
      return;
    } finally {
      at("query").value = "";
    }
    if (this.dropped.file !== file) return;
    say("");
    at("asked").textContent = `${found.length} most like ${file.name}`;
    at("found").hidden = false;
    at("pictures").hidden = true;
    scrollTo(0, 0);
    const tiles = found.map((hit) => new Tile(this.byAddress.get(hit.address) ?? new Elsewhere(hit.name), hit));
    this.shown = tiles.map(({ entry }) => entry).filter(({ address }) => address !== null);
    this.hits.fill(tiles);
  }

  /** All pictures again. */
  all() {
    this.hits.clear();
    at("found").hidden = true;
    at("pictures").hidden = false;
    this.shown = this.manifest.entries;
    say(this.manifest.notes.join("; "));
  }

  /** Be where the address says: on the wall, or with one picture. */
  follow() {
    const entry = this.asked();
    if (entry && at("single").hidden) {
      this.place = scrollY;
      this.came = this.begun;
    }
    this.begun = true;
    at("all").hidden = Boolean(entry);
    at("single").hidden = !entry;
    if (entry) {
      this.thumbnails.pause();
      document.title = entry.name;
      scrollTo(0, 0);
      this.single.show(entry, { before: this.beside(entry, -1), after: this.beside(entry, 1) });
      return;
    }
    document.title = this.manifest.title;
    this.single.clear();
    scrollTo(0, this.place);
    this.thumbnails.resume();
  }

  asked() {
    const { hash } = location;
    if (hash === "#dropped") return this.dropped;
    if (!hash.startsWith("#file=")) return null;
    try {
      return this.byAddress.get(decodeURIComponent(hash.slice("#file=".length))) ?? null;
    } catch {
      return null;
    }
  }

  /** The picture before one (-1) or after it (1), if there is one. */
  beside(entry, step) {
    const place = this.shown.indexOf(entry);
    return place < 0 ? null : (this.shown[place + step] ?? null);
  }

  step(step) {
    const next = this.beside(this.asked(), step);
    if (next) location.replace(linkTo(next.address));
  }

  /** Back to the wall: to where one came from, or to the wall of an address that somebody was sent. */
  leave() {
    if (this.came) history.back();
    else location.replace("#");
  }

  press({ key, altKey, ctrlKey, metaKey }) {
    if (!this.asked() || altKey || ctrlKey || metaKey) return;
    if (key === "Escape") this.leave();
    else if (key === "PageUp") this.step(-1);
    else if (key === "PageDown") this.step(1);
  }
}

/** A picture that an index knows and this page does not. */
class Elsewhere extends Dropped {
  constructor(name) {
    super({ name, size: NaN });
  }

  async read() {
    throw new Error("it is not in this folder");
  }
}

function say(text, wrong = false) {
  at("notes").textContent = text;
  at("notes").classList.toggle("wrong", wrong);
}

try {
  new Page(await readManifest()).begin();
} catch (error) {
  say(error.message, true);
}
