// What may be found at all: a part of the path, a length, a least relevance, an expression.
import { byId, el } from "./dom.js";
import { hits } from "./results.js";
import { change, FILTERS, filtersSet, onChange, state } from "./state.js";
import { split } from "./times.js";

const PAUSE = 250; // ms after the last key press
const fields = {};

/** Builds the form. */
export function startFilters() {
  fields.path = el("input", { type: "text", id: "in", list: "folders", placeholder: "birds/ or *.flac", autocomplete: "off", spellcheck: "false" });
  fields.shortest = el("input", { type: "number", id: "shortest", min: "0", step: "any", placeholder: "0", inputmode: "decimal" });
  fields.longest = el("input", { type: "number", id: "longest", min: "0", step: "any", placeholder: "any", inputmode: "decimal" });
  fields.relevance = el("input", { type: "number", id: "relevance", min: "0", max: "100", step: "any", placeholder: "0", inputmode: "decimal" });
  fields.filter = el("input", { type: "text", id: "filter", placeholder: 'format = "wav" and not metadata.artist = "…"', autocomplete: "off", spellcheck: "false", maxlength: "2000" });
  const folders = el("datalist", { id: "folders" });
  byId("filters").append(
    field("in", "Path has in it", fields.path),
    folders,
    field("shortest", "Seconds, at least", fields.shortest),
    field("longest", "at most", fields.longest),
    field("relevance", "Relevance %, at least", fields.relevance),
    field("filter", "And this expression holds", fields.filter),
    el("button", { type: "button", class: "quiet", text: "Clear", onclick: () => change(Object.fromEntries(FILTERS.map((name) => [name, ""]))) }),
  );
  let timer;
  byId("filters").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => change(values()), PAUSE);
  });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters-button").addEventListener("click", toggleFilters);
  window.addEventListener("found", () => {
    const seen = [...new Set(hits().map((hit) => split(hit.path)[0]).filter(Boolean))].sort();
    folders.replaceChildren(...seen.slice(0, 200).map((value) => el("option", { value })));
  });
  onChange(show);
  show();
  if (filtersSet(state)) toggleFilters();
}

/** Shows the form or hides it; its filters stay. */
export function toggleFilters() {
  const form = byId("filters");
  form.hidden = !form.hidden;
  byId("filters-button").setAttribute("aria-expanded", String(!form.hidden));
  if (!form.hidden) fields.path.focus();
}

function field(id, words, input) {
  return el("p", { class: "field" }, el("label", { for: id, text: words }), input);
}

/** The fields' values; what a browser finds invalid counts as empty. */
function values() {
  return Object.fromEntries(Object.entries(fields).map(([name, input]) => [name, input.validity.valid ? input.value.trim() : ""]));
}

function show() {
  for (const [name, input] of Object.entries(fields)) {
    if (document.activeElement !== input) input.value = state[name];
  }
  const set = filtersSet(state);
  byId("filters-button").textContent = set ? `Filters (${set})` : "Filters";
}
