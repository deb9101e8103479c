// One picture alone, over the wall: an .aec file in a frame with the page of a single file, another as the browser shows it.

const FRAMED = "file.html";

/** parts: the elements {view, alone, before, after}, which stand over the wall. */
export class Single {
  constructor(parts, onKey) {
    Object.assign(this, parts, { onKey });
  }

  /** before, after: whether there is a picture on that side. */
  show(entry, { before, after }) {
    this.clear();
    this.alone.textContent = entry.name;
    this.before.disabled = !before;
    this.after.disabled = !after;
    if (entry.aec) this.frame(entry);
    else this.picture(entry);
  }

  frame(entry) {
    const frame = document.createElement("iframe");
    frame.title = entry.name;
    frame.src = entry.address === null ? FRAMED : `${FRAMED}?file=${encodeURIComponent(entry.address)}`;
    frame.addEventListener("load", () => {
      // Same origin: keys of the frame are heard here too, and what was dropped is given to its input.
      frame.contentWindow.addEventListener("keydown", this.onKey);
      if (entry.file) handOver(entry.file, frame.contentDocument.getElementById("file"));
      frame.contentWindow.focus();
    });
    this.view.append(frame);
  }

  picture(entry) {
    const image = document.createElement("img");
    image.alt = entry.name;
    this.url = entry.file ? URL.createObjectURL(entry.file) : null;
    image.src = this.url ?? entry.address;
    image.addEventListener("error", () => {
      image.replaceWith(document.createTextNode("It cannot be shown: damaged, or no picture that this browser knows."));
    });
    this.view.append(image);
  }

  clear() {
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    this.view.replaceChildren();
  }
}

function handOver(file, input) {
  const carried = new DataTransfer();
  carried.items.add(file);
  input.files = carried.files;
  input.dispatchEvent(new Event("change"));
}
