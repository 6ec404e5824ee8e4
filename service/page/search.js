// From a state to the request that answers it, and its further pages.
import { ask, parameters } from "./api.js";
import { remember } from "./clips.js";

const PAGE = 50;
const UNLIKE = -0.5;

/** Whether a state asks for anything; else the library is listed. */
export function isQuestion({ query, like, unlike, sound }) {
  return Boolean(query.trim() || like.length || unlike.length || sound);
}

/**
 * One page of what a state asks for: {hits, next, total}; `next` is the cursor of the page after
 * it, null at the end. Throws Problem or AbortError.
 */
export async function page(state, cursor, signal) {
  const answer = await request(state, cursor, signal);
  const hits = (answer.hits ?? answer.clips).map(remember);
  const fit = hits.filter((hit) => fits(hit, state.relevance));
  if (fit.length < hits.length) return { hits: fit, next: null, total: null };
  return { hits, next: answer.next ?? null, total: answer.total ?? null };
}

/** Relevance falls along a list: where one hit does not fit, none after it does. */
function fits({ relevance }, least) {
  return least === "" || typeof relevance !== "number" || relevance >= Number(least) / 100;
}

function request(state, cursor, signal) {
  const query = state.query.trim();
  const filter = filterOf(state);
  const rest = { k: PAGE, ...(cursor ? { cursor } : {}), ...(filter ? { filter } : {}) };
  const clips = [
    ...state.like.map((id) => ({ id, weight: 1 })),
    ...state.unlike.map((id) => ({ id, weight: UNLIKE })),
  ];
  if (state.sound) return bySound(state.sound, query, clips, rest, signal);
  if (clips.length) {
    const texts = query ? [{ text: query, weight: 1 }] : [];
    return ask("/v1/search", { body: { texts, clips, ...rest }, signal });
  }
  if (query) return ask("/v1/search/text", { body: { query, ...rest }, signal });
  return ask(`/v1/clips${parameters({ ...rest, filter })}`, { signal });
}

function bySound(sound, query, clips, rest, signal) {
  const form = new FormData();
  form.append("file", sound, sound.name);
  const alone = !query && !clips.length;
  if (!alone) {
    form.append("texts", JSON.stringify(query ? [{ text: query, weight: 1 }] : []));
    form.append("clips", JSON.stringify(clips));
  }
  for (const [name, value] of Object.entries(rest)) {
    form.append(name, value);
  }
  return ask(alone ? "/v1/search/audio" : "/v1/search", { body: form, signal });
}

/** The filters in the server's language, e.g. `path ~ "*birds*" and seconds < 5`; null without. */
export function filterOf({ path, shortest, longest, filter }) {
  const parts = [];
  if (path) parts.push(`path ~ ${quoted(`*${path.replaceAll("[", "[[]")}*`)}`);
  if (shortest !== "") parts.push(`seconds >= ${Number(shortest)}`);
  if (longest !== "") parts.push(`seconds <= ${Number(longest)}`);
  if (filter.trim()) parts.push(parts.length ? `(${filter.trim()})` : filter.trim());
  return parts.join(" and ") || null;
}

function quoted(text) {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
