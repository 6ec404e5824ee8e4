// What the person asked for, in the address, so that a search can be linked and gone back to.

const FIELDS = {
  view: ["view", "search"],
  query: ["q", ""],
  like: ["like", []],
  unlike: ["unlike", []],
  path: ["in", ""],
  shortest: ["min", ""],
  longest: ["max", ""],
  relevance: ["relevance", ""],
  filter: ["filter", ""],
  clip: ["clip", ""],
};
export const FILTERS = ["path", "shortest", "longest", "relevance", "filter"];
const VIEWS = ["search", "map", "tags"];
const heard = new Set();
/** The sounds searched with, by the number that a step of the browser's history has of them. */
const sounds = [null];
/** What tells this visit's steps from those of a visit before, whose sounds are gone. */
const VISIT = performance.timeOrigin;

/**
 * view; query: the sentence; like, unlike: clips, as moments.js reads them; path (a part of it), shortest, longest
 * (seconds), relevance (0 … 100), filter (in the server's language): what may be found; clip: the
 * id of the opened one; sound: a File to search with, which no address can hold. A change replaces
 * the whole value.
 */
export let state = { ...fromAddress(), sound: null };

/** Changes some fields. `push`: a step that the browser's Back undoes. */
export function change(patch, { push = false } = {}) {
  const before = state;
  state = { ...state, ...patch };
  const address = toAddress(state);
  if (!sounds.includes(state.sound)) sounds.push(state.sound);
  if (address !== location.pathname + location.search || state.sound !== before.sound) {
    history[push ? "pushState" : "replaceState"]({ visit: VISIT, sound: sounds.indexOf(state.sound) }, "", address);
  }
  for (const listener of heard) listener(state, before);
}

/** Calls `listener(state, before)` after every change. */
export function onChange(listener) {
  heard.add(listener);
}

/** The part of a state that a search depends on, as text to compare. */
export function searchKey({ query, like, unlike, sound, ...rest }) {
  const file = sound && [sound.name, sound.size, sound.lastModified];
  return JSON.stringify([query.trim(), like, unlike, file, FILTERS.map((name) => rest[name])]);
}

/** How many filters are set. */
export function filtersSet(values) {
  return FILTERS.filter((name) => values[name] !== "").length;
}

/** A link to a state. */
export function toAddress(values) {
  const parameters = new URLSearchParams();
  for (const [field, [name, empty]] of Object.entries(FIELDS)) {
    const value = values[field];
    if (Array.isArray(empty)) for (const each of value) parameters.append(name, each);
    else if (value !== empty) parameters.set(name, value);
  }
  const text = parameters.toString();
  return text ? `/?${text}` : "/";
}

function fromAddress() {
  const parameters = new URLSearchParams(location.search);
  const values = {};
  for (const [field, [name, empty]] of Object.entries(FIELDS)) {
    values[field] = Array.isArray(empty) ? parameters.getAll(name) : (parameters.get(name) ?? empty);
  }
  return { ...values, view: VIEWS.includes(values.view) ? values.view : "search" };
}

window.addEventListener("popstate", (event) => {
  const before = state;
  const number = event.state?.visit === VISIT ? event.state.sound : 0;
  state = { ...fromAddress(), sound: sounds[number] };
  for (const listener of heard) listener(state, before);
});
