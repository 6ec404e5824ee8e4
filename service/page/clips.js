// Clips by their ids: remembered from answers, asked for when only an address names them.
import { ask } from "./api.js";

const known = new Map();
const MOST = 5000;

/** Keeps what an answer told about a clip; returns it. */
export function remember(clip) {
  if (known.size >= MOST) known.delete(known.keys().next().value);
  known.set(clip.id, clip);
  return clip;
}

/** The clip of an id: {id, path, seconds, audio, …}. Throws Problem. */
export async function clipOf(id) {
  return known.get(id) ?? remember(await ask(`/v1/clips/${encodeURIComponent(id)}`));
}

/** The path of a clip that is known; else its id. */
export function nameOf(id) {
  return known.get(id)?.path ?? id;
}
