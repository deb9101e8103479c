// One picture alone, over the wall: an .aec file as the page of one file shows it, another as the browser does.

import { FileView } from "../page/file_view.js";

/** parts: elements {view, image, alone, before, after}. decoder: which the wall uses as well. */
export class Single {
  constructor(parts, decoder) {
    Object.assign(this, parts);
    this.files = new FileView(this.view, decoder);
    this.stop = new AbortController();
  }

  /** before, after: whether there is a picture on that side. */
  async show(entry, { before, after }) {
    this.clear();
    const { signal } = this.stop;
    this.alone.textContent = entry.name;
    this.before.disabled = !before;
    this.after.disabled = !after;
    this.view.hidden = !entry.aec;
    this.image.hidden = entry.aec;
    if (!entry.aec) {
      this.picture(entry);
      return;
    }
    try {
      const bytes = await entry.read(signal);
      if (!signal.aborted) await this.files.show(entry.parts.last, bytes);
    } catch (error) {
      if (!signal.aborted) this.files.refuse(entry.parts.last, error);
    }
  }

  picture(entry) {
    const image = document.createElement("img");
    image.alt = entry.name;
    this.url = entry.file ? URL.createObjectURL(entry.file) : null;
    image.src = this.url ?? entry.address;
    image.addEventListener("error", () => {
      image.replaceWith(document.createTextNode("It cannot be shown: damaged, or no picture that this browser knows."));
    });
    this.image.replaceChildren(image);
  }

  clear() {
    this.stop.abort();
    this.stop = new AbortController();
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    this.image.replaceChildren();
    this.files.clear();
  }
}
