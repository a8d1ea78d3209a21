// Questions to the server. A question of a kind that is asked again cancels the one before: its answer is stale.

const asked = new Map();

export class Refused extends Error {}

async function answer(response) {
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Refused(said.error || `the server answered ${response.status}`);
}

/** Ask, and return the response; undefined if the same kind was asked again meanwhile. */
export async function ask(kind, path, options = {}) {
  asked.get(kind)?.abort();
  const turn = new AbortController();
  asked.set(kind, turn);
  try {
    return await answer(await fetch(path, { ...options, signal: turn.signal }));
  } catch (error) {
    if (turn.signal.aborted) return undefined;
    throw error instanceof Refused ? error : new Refused("act3d app does not answer; is it still running?");
  } finally {
    if (asked.get(kind) === turn) asked.delete(kind);
  }
}

/** Ask for JSON; see `ask`. */
export async function json(kind, path, options) {
  const response = await ask(kind, path, options);
  return response && response.json();
}

/** Send JSON, and ask for JSON. */
export const send = (kind, path, value) => json(kind, path, posted(value));

export const posted = value => ({
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value),
});

export const forget = kind => asked.get(kind)?.abort();
