// A picture that was dropped on the page, sent to the server of this machine, which knows what of an index is near it.

/** A File -> hits [{name, address or null, distance, marks}]. Throws an Error in words. */
export async function search({ address, limit }, file, turned) {
  if (file.size > limit) throw new Error(`${file.name} is larger than ${Math.floor(limit / 2 ** 20)} MiB`);
  let answer;
  try {
    answer = await fetch(turned ? `${address}?turned` : address, {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream" },
      body: await file.arrayBuffer(),
    });
  } catch (error) {
    throw new Error(`the server does not answer (${error.message})`);
  }
  const found = await answer.json().catch(() => ({}));
  if (found.error) throw new Error(`${file.name}: ${found.error}`);
  if (!answer.ok || !Array.isArray(found.hits)) throw new Error(`the search failed (status ${answer.status})`);
  return found.hits;
}
