// One file, shown: its picture as the tiles arrive, what it says of itself, and what is wrong with it, in words.

import { bitmapOf } from "./bitmap.js";
import { element, factsOf } from "./facts.js";
import { Stage } from "./stage.js";

const BLOCK = 1024;
/** How far a key moves the picture, in pixels of the screen. */
const PAN = 80;

/** A button of the toolbar. */
function button(text, title, label) {
  const made = element("button", text);
  made.type = "button";
  made.title = title;
  made.disabled = true;
  if (label) made.setAttribute("aria-label", label);
  return made;
}

/** Builds itself into an element, whose styles are file_view.css. decoder: a `Decoder` of client.js. */
export class FileView {
  constructor(place, decoder) {
    this.decoder = decoder;
    /** What is shown: {name, file, stopping}. */
    this.current = null;
    this.build(place);
    this.stage = new Stage(this.canvas, (scale) => {
      this.scale.textContent = `${Math.round(scale * 100)} %`;
    });
    document.addEventListener("keydown", (event) => this.press(event));
    this.clear();
  }

  build(place) {
    this.smaller = button("−", "Smaller (-)", "Smaller");
    this.scale = element("output", "–");
    this.scale.setAttribute("aria-label", "Scale");
    this.larger = button("+", "Larger (+)", "Larger");
    this.actual = button("1:1", "One pixel of the picture on one of the screen (1)");
    this.fit = button("Fit", "All of the picture (0)");
    this.save = button("Save as PNG", "Save as PNG (S)");
    this.details = button("Details", "What the file says (I)");
    this.bar = element("div", this.smaller, this.scale, this.larger, this.actual, this.fit, this.save, this.details);
    this.bar.className = "bar";
    this.bar.setAttribute("role", "toolbar");
    this.bar.setAttribute("aria-label", "Picture");
    this.alerts = element("div");
    this.alerts.className = "alerts";
    this.alerts.setAttribute("role", "alert");
    this.canvas = element("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.facts = element("aside");
    this.facts.tabIndex = -1;
    this.facts.hidden = true;
    this.facts.setAttribute("aria-label", "What the file says");
    this.details.setAttribute("aria-expanded", "false");
    const middle = element("div", this.canvas, this.facts);
    middle.className = "middle";
    this.progress = element("progress");
    this.progress.setAttribute("aria-label", "Decoded");
    this.status = element("p", "Ready.");
    this.status.setAttribute("role", "status");
    const keys = element("p", "Keys: + and − zoom, 1 pixel for pixel, 0 fit, arrows move, S save, I details.");
    keys.className = "keys";
    const foot = element("div", this.progress, this.status, keys);
    foot.className = "foot";
    place.classList.add("file-view");
    place.replaceChildren(this.bar, this.alerts, middle, foot);
    this.place = place;
    this.smaller.addEventListener("click", () => this.stage.smaller());
    this.larger.addEventListener("click", () => this.stage.larger());
    this.actual.addEventListener("click", () => this.stage.actual());
    this.fit.addEventListener("click", () => this.stage.fit());
    this.save.addEventListener("click", () => this.writePng());
    this.details.addEventListener("click", () => this.toggleDetails());
  }

  /** Opens and shows bytes (an ArrayBuffer, which is given away); what is damaged is told, and what is whole is shown. */
  async show(name, bytes) {
    this.clear();
    const mine = (this.current = { name, file: null, stopping: new AbortController() });
    this.say("Opening…");
    const copy = bytes.slice(0);
    try {
      await this.decode(mine, await this.decoder.open(bytes));
    } catch (error) {
      if (this.current !== mine) return;
      if (isDamage(error)) await this.showRest(mine, copy, error);
      else this.refuse(name, error);
    }
  }

  /** Shows nothing any more, and stops what is being decoded. */
  clear() {
    this.current?.stopping.abort();
    this.current?.file?.close();
    this.current = null;
    this.stage.clear();
    this.alerts.replaceChildren();
    this.facts.replaceChildren();
    this.progress.hidden = true;
    this.canvas.setAttribute("aria-label", "No picture");
    for (const one of this.bar.querySelectorAll("button")) one.disabled = true;
    this.say("Ready.");
  }

  /** Shows nothing but that, and why, a file cannot be shown. */
  refuse(name, error) {
    this.clear();
    this.alert(`${name} cannot be shown: ${error.message}.`);
    this.say("No picture.");
  }

  say(text) {
    this.status.textContent = text;
  }

  /** Lines that somebody has to know of; the first is what happened. */
  alert(first, ...others) {
    const list = element("ul", ...others.map((line) => element("li", line)));
    this.alerts.replaceChildren(element("p", first), ...(others.length ? [list] : []));
  }

  /** The second try with a damaged file: what is whole. */
  async showRest(mine, bytes, damage) {
    const first = `The file is damaged: ${damage.message}.`;
    try {
      mine.file?.close();
      const file = await this.decoder.open(bytes, { partial: true });
      this.alert(first, "What is whole of it is being decoded.");
      const { lost, notices } = await this.decode(mine, file);
      const grey = `Of ${file.info.tiles} tiles these are lost and filled with grey: ${lost.join(", ")}.`;
      this.alert(first, ...(lost.length ? [grey] : []), ...file.info.notices, ...notices);
    } catch (error) {
      if (this.current === mine) this.refuse(mine.name, isDamage(error) ? damage : error);
    }
  }

  async decode(mine, file) {
    this.unlessReplaced(mine, file);
    mine.file = file;
    const { info } = file;
    this.canvas.setAttribute("aria-label", `${mine.name}, ${info.width} by ${info.height} pixels`);
    this.facts.replaceChildren(...factsOf(info));
    for (const one of this.bar.querySelectorAll("button")) one.disabled = one === this.save;
    this.stage.begin(info);
    const side = Math.min(info.tile, BLOCK);
    this.progress.max = Math.ceil(info.width / side) * Math.ceil(info.height / side);
    this.progress.value = 0;
    this.progress.hidden = false;
    this.say("Decoding…");
    const begin = performance.now();
    const drawn = [];
    const onTile = (tile) => {
      drawn.push(this.draw(mine, tile));
      this.progress.value += 1;
      this.say(`Decoding: ${this.progress.value} of ${this.progress.max} parts.`);
    };
    const result = await file.decode({ onTile, keep: true, signal: mine.stopping.signal });
    await Promise.all(drawn);
    this.unlessReplaced(mine, file);
    this.progress.hidden = true;
    this.save.disabled = false;
    const seconds = ((performance.now() - begin) / 1000).toFixed(1);
    this.say(`${info.width} × ${info.height} pixels, decoded in ${seconds} s by ${result.computed}.`);
    return result;
  }

  unlessReplaced(mine, file) {
    if (this.current === mine) return;
    file.close();
    throw new DOMException("another file was opened", "AbortError");
  }

  async draw(mine, tile) {
    const bitmap = await bitmapOf(tile, mine.file.info.metadata.icc);
    if (this.current === mine) this.stage.add(bitmap, tile);
    else bitmap.close();
  }

  async writePng() {
    const { name, file } = this.current;
    this.say("Writing the PNG…");
    this.save.disabled = true;
    try {
      const address = URL.createObjectURL(await file.png());
      const link = element("a");
      link.href = address;
      link.download = `${name.replace(/\.aec$/i, "")}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
      this.say("The PNG is where this browser puts downloads.");
    } catch (error) {
      this.alert(`The PNG could not be written: ${error.message}.`);
    }
    this.save.disabled = this.current?.file !== file;
  }

  toggleDetails() {
    this.facts.hidden = !this.facts.hidden;
    this.details.setAttribute("aria-expanded", String(!this.facts.hidden));
    if (!this.facts.hidden) this.facts.focus();
  }

  /** Keys, wherever on the page they are pressed while this is seen; arrows scroll what has the focus and can be. */
  press(event) {
    const { key, target } = event;
    const keys = {
      "+": () => this.stage.larger(),
      "=": () => this.stage.larger(),
      "-": () => this.stage.smaller(),
      0: () => this.stage.fit(),
      1: () => this.stage.actual(),
      s: () => this.save.click(),
      i: () => this.details.click(),
      ArrowLeft: () => this.stage.move(-PAN, 0),
      ArrowRight: () => this.stage.move(PAN, 0),
      ArrowUp: () => this.stage.move(0, -PAN),
      ArrowDown: () => this.stage.move(0, PAN),
    };
    const elsewhere = key.startsWith("Arrow") ? target !== this.canvas && target !== document.body : isField(target);
    const busy = event.ctrlKey || event.metaKey || event.altKey || elsewhere;
    if (busy || !this.current || !this.place.offsetParent || !Object.hasOwn(keys, key)) return;
    event.preventDefault();
    keys[key]();
  }
}

function isDamage({ name }) {
  return name === "BitstreamError" || name === "TruncatedError";
}

/** Whether keys that are pressed there are meant as text. */
function isField(target) {
  return target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}
