// The list of sounds: pages as one scrolls, one selected, one opened.
import { clipOf } from "./clips.js";
import { Detail } from "./detail.js";
import { byId, el } from "./dom.js";
import { exampleOf } from "./moments.js";
import { clearNotice, showProblem } from "./notice.js";
import { isAbort } from "./problem.js";
import * as player from "./player.js";
import { follows } from "./player_bar.js";
import { Row } from "./row.js";
import { isQuestion, page } from "./search.js";
import { change, filtersSet, onChange, searchKey, state } from "./state.js";

/** Sees the list's end come near. */
const ending = new IntersectionObserver(
  (entries) => {
    if (entries.some((entry) => entry.isIntersecting)) more();
  },
  { rootMargin: "600px" },
);
/** What the buttons of a row do. */
const DOES = {
  select,
  open: toggleOpen,
  like: ({ hit }) => steer(exampleOf(hit), "like"),
  unlike: ({ hit }) => steer(exampleOf(hit), "unlike"),
};
let rows = [];
let selected = null;
let cursor = null;
let total = null;
let searching = null;
let shownKey = null;
let best = 0;

/** The hits on show, best first. */
export function hits() {
  return rows.filter((row) => !row.apart).map((row) => row.hit);
}

/** How many sounds fit in all. */
export function found() {
  return cursor ? (total ?? hits().length) : hits().length;
}

/** The selected hit, null without. */
export function selectedHit() {
  return selected?.hit ?? null;
}

/** Searches when the state asks for something else, and shows more when the end comes near. */
export function startResults() {
  onChange((_, before) => {
    if (searchKey(state) !== shownKey) search();
    if (state.clip !== before.clip) showOpened();
  });
  for (const name of ["clip", "state"]) {
    player.playing.addEventListener(name, () => rows.forEach((row) => row.showPlaying()));
  }
  player.playing.addEventListener("time", () => {
    rows.find((row) => player.isCurrent(row.hit))?.showTime();
  });
  search();
}

/** Selects the row `step` further on and brings it into sight; plays it where that is wanted. */
export function move(step) {
  if (!rows.length) return;
  const at = selected ? rows.indexOf(selected) + step : 0;
  const row = rows[Math.min(Math.max(at, 0), rows.length - 1)];
  row.node.focus({ preventScroll: true });
  row.node.scrollIntoView({ block: "nearest" });
  if (follows() && !player.isCurrent(row.hit)) player.play(row.hit);
}

/** Plays the neighbour of what plays, from its moment. */
export function playNeighbour(step) {
  const at = rows.findIndex((row) => player.isCurrent(row.hit));
  const row = rows[at + step] ?? null;
  if (!row) return;
  select(row);
  row.node.scrollIntoView({ block: "nearest" });
  player.play(row.hit);
}

/** Opens the selected row, or closes it. */
export function toggleSelected() {
  if (selected) toggleOpen(selected);
}

/** Adds a clip, or a moment of one, to what the search should be like, or not be like. */
export function steer(example, field) {
  const other = field === "like" ? "unlike" : "like";
  const without = (examples) => examples.filter((each) => each !== example);
  const view = state.view === "map" ? "map" : "search";
  const examples = { [field]: [...without(state[field]), example], [other]: without(state[other]) };
  change({ ...examples, view, clip: view === "map" ? state.clip : "" }, { push: true });
  window.scrollTo({ top: 0 });
}

async function search() {
  searching?.abort();
  const ours = (searching = new AbortController());
  shownKey = searchKey(state);
  byId("results").setAttribute("aria-busy", "true");
  byId("count").textContent = "Searching …";
  try {
    const found = await page(state, null, ours.signal);
    if (ours.signal.aborted) return;
    clearNotice();
    clear();
    add(found);
    select(rows[0] ?? null);
    showOpened();
    window.dispatchEvent(new Event("found"));
  } catch (error) {
    if (isAbort(error) || ours.signal.aborted) return;
    clear();
    shownKey = null; // the same question may be put again
    if (error.routeMissing && !isQuestion(state)) showCount();
    else {
      byId("count").textContent = "";
      showProblem(error);
    }
  } finally {
    if (searching === ours) {
      searching = null;
      byId("results").setAttribute("aria-busy", "false");
    }
  }
}

async function more() {
  if (!cursor || searching) return;
  const ours = (searching = new AbortController());
  byId("ending").textContent = "Loading more …";
  try {
    const found = await page(state, cursor, ours.signal);
    if (ours.signal.aborted) return;
    byId("ending").textContent = "";
    add(found);
  } catch (error) {
    if (isAbort(error)) return;
    byId("ending").replaceChildren(el("button", { type: "button", text: "Try again", onclick: more }));
    showProblem(error);
  } finally {
    if (searching === ours) searching = null;
  }
}

function add(found) {
  if (!rows.length) best = found.hits[0]?.score ?? 0;
  cursor = found.next;
  total = found.total;
  const added = found.hits.map((hit) => new Row(hit, best, DOES));
  if (!rows.length) byId("results").replaceChildren(); // a page before this one had nothing to show
  rows = [...rows, ...added];
  byId("results").append(...added.map((row) => row.node));
  rows.forEach((row, at) => {
    row.node.setAttribute("aria-posinset", String(at + 1));
    row.node.setAttribute("aria-setsize", String(cursor ? -1 : rows.length));
  });
  showCount();
  ending.unobserve(byId("ending"));
  // Observing anew also tells of an end that stayed in sight. Page after page without a hit, as a
  // least relevance can bring them, are looked through when somebody wants that.
  if (added.length) ending.observe(byId("ending"));
  else if (cursor) byId("ending").replaceChildren(el("button", { type: "button", text: "Look further", onclick: more }));
}

function clear() {
  for (const row of rows) row.end();
  rows = [];
  selected = null;
  cursor = null;
  byId("results").replaceChildren();
  byId("ending").textContent = "";
}

function showCount() {
  const question = isQuestion(state);
  const count = found();
  const number = `${count.toLocaleString("en")}${total === null && cursor ? "+" : ""}`;
  const words = count === 1 ? "sound" : "sounds";
  byId("count").textContent = question ? `${number} ${words}, best first` : rows.length ? `${number} ${words}, by name` : "";
  if (rows.length) return;
  byId("results").replaceChildren(
    el(
      "div",
      { class: "empty" },
      el("p", { text: question || filtersSet(state) ? "No sound fits." : "Type a sentence, drop a sound anywhere, or record one." }),
      question && el("p", { text: "Say it in other words, or take a filter away." }),
    ),
  );
}

function select(row) {
  if (row === selected) return;
  selected?.select(false);
  selected = row;
  selected?.select(true);
}

function toggleOpen(row) {
  select(row);
  change({ clip: row.detail ? "" : row.hit.id }, { push: true });
}

/** Opens the row of the state's clip; one that is not in the list is put in front of it. */
async function showOpened() {
  const wanted = state.clip;
  for (const row of rows) if (row.detail && row.hit.id !== wanted) row.expand(null);
  if (!wanted) return;
  const row = rows.find(({ hit }) => hit.id === wanted) ?? (await fetchedRow(wanted));
  if (!row || row.detail || state.clip !== wanted) return;
  row.expand(new Detail(row.hit));
  row.node.scrollIntoView({ block: "nearest" });
}

async function fetchedRow(id) {
  try {
    const clip = await clipOf(id);
    if (state.clip !== id || rows.some(({ hit }) => hit.id === id)) return null; // too late, or there by now
    const { score, start, end, relevance, moments, ...plain } = clip;
    const row = new Row(plain, best, DOES);
    row.apart = true; // opened by its address, not found
    rows = [row, ...rows];
    byId("results").prepend(row.node);
    return row;
  } catch (error) {
    showProblem(error);
    return null;
  }
}
