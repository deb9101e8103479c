// The page of one file: dropped, picked, or named in the address.

import { Decoder } from "../client.js";
import { FileView } from "../page/file_view.js";

const [name, open, pick, welcome, place, picker] = ["name", "open", "pick", "welcome", "view", "file"].map((id) =>
  document.getElementById(id),
);
const view = new FileView(place, new Decoder());

/** Shows what a function gets of a file, or says in words why it could not be got. */
async function show(title, bytes) {
  welcome.hidden = true;
  name.textContent = document.title = title;
  try {
    await view.show(title, await bytes());
  } catch (error) {
    view.refuse(title, error);
  }
}

async function read(file) {
  if (file) await show(file.name, () => file.arrayBuffer());
}

/** The file that ?file= names: an address relative to the page, on the same server. */
async function readAddress(wanted) {
  const url = URL.canParse(wanted, document.baseURI) ? new URL(wanted, document.baseURI) : null;
  await show(url ? lastPart(url) : wanted, async () => {
    if (url?.origin !== location.origin) throw new Error("only files of this page's own server are opened by address");
    view.say("Fetching…");
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`the server has no such file (status ${answer.status})`);
    return answer.arrayBuffer();
  });
}

function lastPart({ pathname }) {
  const part = pathname.split("/").at(-1);
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

for (const one of [open, pick]) one.addEventListener("click", () => picker.click());
picker.addEventListener("change", () => {
  read(picker.files[0]);
  picker.value = "";
});
document.addEventListener("keydown", (event) => {
  if (event.key === "o" && !event.ctrlKey && !event.metaKey && !event.altKey) picker.click();
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  read(event.dataTransfer.files[0]);
});
const wanted = new URLSearchParams(location.search).get("file");
if (wanted) readAddress(wanted);
