// From a state to the request that answers it, and its further pages.
import { ask, parameters } from "./api.js";
import { remember } from "./clips.js";
import { readExample } from "./moments.js";

const PAGE = 50;
const MOMENTS = 100; // of a recording
const UNLIKE = -0.5;

/** Whether a state asks for anything; else the library is listed. */
export function isQuestion({ query, like, unlike, sound }) {
  return Boolean(query.trim() || like.length || unlike.length || sound);
}

/**
 * One page of what a state asks for: {hits, next, total}; `next` is the cursor of the page after
 * it, null at the end; `total`: how many there are, null where that is not known. Throws Problem or AbortError.
 */
export async function page(state, cursor, signal) {
  const answer = await request(state, cursor, signal);
  const hits = (answer.hits ?? answer.clips).map(remember);
  const total = state.relevance === "" ? (answer.total ?? null) : null;
  return { hits, next: answer.next ?? null, total };
}

function request(state, cursor, signal) {
  const query = state.query.trim();
  const filter = filterOf(state);
  const rest = { k: PAGE, ...(cursor ? { cursor } : {}), ...(filter ? { filter } : {}) };
  if (!isQuestion(state)) return ask(`/v1/clips${parameters(rest)}`, { signal });
  rest.moments = MOMENTS;
  if (state.relevance !== "") rest.min_relevance = Number(state.relevance) / 100;
  const clips = [
    ...state.like.map((example) => ({ ...readExample(example), weight: 1 })),
    ...state.unlike.map((example) => ({ ...readExample(example), weight: UNLIKE })),
  ];
  if (state.sound) return bySound(state.sound, query, clips, rest, signal);
  if (clips.length) {
    const texts = query ? [{ text: query, weight: 1 }] : [];
    return ask("/v1/search", { body: { texts, clips, ...rest }, signal });
  }
  return ask("/v1/search/text", { body: { query, ...rest }, signal });
}

/** A sound alone goes to its own route; with words or clips, these go beside it as JSON. */
function bySound(sound, query, clips, rest, signal) {
  const form = new FormData();
  form.append("file", sound, sound.name);
  if (!query && !clips.length) {
    for (const [name, value] of Object.entries(rest)) form.append(name, value);
    return ask("/v1/search/audio", { body: form, signal });
  }
  const texts = query ? [{ text: query, weight: 1 }] : [];
  form.append("query", JSON.stringify({ texts, clips, ...rest }));
  return ask("/v1/search", { body: form, signal });
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
