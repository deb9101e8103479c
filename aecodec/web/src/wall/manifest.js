// The list of pictures that comes with the page (aecodec/viewer/pages.py).

const WHAT = "aecodec pictures";
const VERSION = 1;
const AEC = /\.aec$/i;

/** One picture. name: its path, to be shown; address: relative to the page; aec: whether it is decoded here. */
export class Entry {
  constructor({ name, address, bytes }) {
    this.name = String(name);
    this.address = address;
    this.size = Number(bytes);
    this.aec = AEC.test(this.name);
  }

  /** What is behind the last slash of its path, and what is before it. */
  get parts() {
    const cut = this.name.lastIndexOf("/");
    return { last: this.name.slice(cut + 1), folder: this.name.slice(0, Math.max(cut, 0)) };
  }

  /** Its bytes. Throws an Error in words. */
  async read(signal) {
    let answer;
    try {
      answer = await fetch(this.address, { signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error(`it could not be fetched (${error.message})`);
    }
    if (!answer.ok) throw new Error(answer.status === 404 ? "it is not there any more" : `status ${answer.status}`);
    return answer.arrayBuffer();
  }
}

/** A file that was dropped on the page, as an Entry without an address. */
export class Dropped extends Entry {
  constructor(file) {
    super({ name: file.name, address: null, bytes: file.size });
    this.file = file;
  }

  async read() {
    return this.file.arrayBuffer();
  }
}

/** -> {title, notes, search, entries}. Throws an Error in words for a list that is missing or none. */
export async function readManifest() {
  const answer = await fetch("manifest.json", { cache: "no-cache" });
  if (!answer.ok) throw new Error(`the list of pictures could not be fetched (status ${answer.status})`);
  const found = await answer.json();
  if (found?.what !== WHAT || found.version !== VERSION || !Array.isArray(found.files)) {
    throw new Error("the list of pictures is none that this page knows");
  }
  const files = new URL("files/", document.baseURI).href;
  const entries = found.files.map((file) => new Entry(file));
  if (!entries.every(({ address }) => new URL(address, document.baseURI).href.startsWith(files))) {
    throw new Error("the list of pictures names one that is not below files/");
  }
  return { title: String(found.title), notes: found.notes.map(String), search: found.search, entries };
}
