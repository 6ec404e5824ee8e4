// What is heard in a sound: asked of the server, shown as bars and along time.
import { ask, parameters } from "./api.js";
import { el } from "./dom.js";
import { clock, cosine, span } from "./times.js";

const TAGS = 10;
const MOST_COLUMNS = 400;

/** Tags of a File: {tags, timeline}; your own `labels` instead of the built-in ones if given. */
export function tagsOf(file, labels, signal) {
  const form = new FormData();
  form.append("file", file, file.name);
  form.append("k", String(TAGS));
  for (const label of labels) form.append("labels", label);
  form.append("timeline", "true");
  return ask("/v1/tags", { body: form, signal });
}

/** Tags of a clip of the library, however long, by what its index holds: {tags, timeline}. */
export function tagsOfClip({ id }, signal) {
  const wanted = parameters({ k: TAGS, timeline: true });
  return ask(`/v1/clips/${encodeURIComponent(id)}/tags${wanted}`, { signal });
}

/** The tags as a list of bars, best first. A press on a name calls `find(name)`. */
export function tagList(tags, find) {
  const best = Math.max(...tags.map((tag) => tag.score));
  return el(
    "ol",
    { class: "tags", "aria-label": "Tags, best first" },
    tags.map((tag) => {
      const level = el("i");
      level.style.width = `${Math.round(100 * strength(tag, best))}%`;
      return el(
        "li",
        { title: `cosine ${cosine(tag.score)}` },
        el("button", { type: "button", class: "link", text: tag.name, title: `Search for “${tag.name}”`, onclick: () => find(tag.name) }),
        el("span", { class: "fit", role: "img", "aria-label": told(tag) }, level),
      );
    }),
  );
}

/**
 * The timeline as a table: a row for each tag, a column for each window; darker is surer. A press
 * on a column calls `seek(seconds)`.
 */
export function timelineTable(tags, timeline, seek) {
  const windows = joined(timeline);
  const best = Math.max(...windows.flatMap((each) => each.tags.map((tag) => tag.score)));
  const names = rowNames(tags, windows);
  const head = el("tr", {}, el("th", { scope: "col", text: "from" }), windows.map(({ start, end }) =>
    el("th", { scope: "col" }, el("button", { type: "button", text: clock(start, false), title: `Play ${span(start, end)}`, onclick: () => seek(start) })),
  ));
  const body = names.map((name) =>
    el("tr", {}, el("th", { scope: "row", text: name }), windows.map((window) => cell(window, name, best, seek))),
  );
  return el(
    "div",
    { class: "timeline", tabindex: "0", role: "region", "aria-label": "Tags along time" },
    el("table", {}, el("thead", {}, head), el("tbody", {}, body)),
  );
}

/** At most MOST_COLUMNS windows: neighbours of a longer timeline as one, with the best score of each tag. */
function joined(timeline) {
  const size = Math.ceil(timeline.length / MOST_COLUMNS);
  if (size === 1) return timeline;
  return Array.from({ length: Math.ceil(timeline.length / size) }, (_, number) => {
    const part = timeline.slice(number * size, (number + 1) * size);
    const best = new Map();
    for (const tag of part.flatMap((each) => each.tags)) {
      if (!(best.get(tag.name)?.score >= tag.score)) best.set(tag.name, tag);
    }
    const tags = [...best.values()].sort((one, other) => other.score - one.score);
    return { start: part[0].start, end: part.at(-1).end, tags };
  });
}

/** The overall tags first, then what only single windows have. */
function rowNames(tags, windows) {
  const all = [...tags.slice(0, 6).map((tag) => tag.name), ...windows.map((window) => window.tags[0]?.name)];
  return [...new Set(all.filter(Boolean))].slice(0, 14);
}

function cell({ start, end, tags }, name, best, seek) {
  const tag = tags.find((each) => each.name === name);
  const share = tag ? strength(tag, best) : 0;
  const ink = el("i");
  ink.style.opacity = share.toFixed(2);
  return el(
    "td",
    { title: tag ? `${name}, ${span(start, end)}: ${told(tag)}` : undefined, onclick: () => seek(start) },
    ink,
    tag && el("span", { class: "unseen", text: told(tag) }),
  );
}

/** 0 … 1: the relevance where one is known, else the score beside the best. */
function strength(tag, best) {
  const share = typeof tag.relevance === "number" ? tag.relevance : tag.score / Math.max(best, 1e-6);
  return Math.min(1, Math.max(0, share));
}

function told(tag) {
  const known = typeof tag.relevance === "number";
  return known ? `relevance ${Math.round(100 * tag.relevance)} %` : `cosine ${cosine(tag.score)}`;
}
