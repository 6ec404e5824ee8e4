// The search box: a sentence as it is typed, a sound, and what to be like or not like.
import { clipOf, nameOf } from "./clips.js";
import { byId, el } from "./dom.js";
import { icon } from "./icons.js";
import { readExample } from "./moments.js";
import { change, onChange, state } from "./state.js";
import { point, split } from "./times.js";

const PAUSE = 200; // ms after the last key press

/** Wires the box. */
export function startQuery() {
  const input = byId("query");
  let timer;
  input.value = state.query;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => change(asked(input.value)), PAUSE);
  });
  byId("box").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    change(asked(input.value), { push: true });
  });
  onChange((_, before) => {
    if (state.query !== before.query && input.value !== state.query) input.value = state.query;
    showChips();
  });
  showChips();
}

/** Typing on the map stays there and marks what fits. What was opened belongs to the question before. */
function asked(query) {
  const view = state.view === "map" ? "map" : "search";
  return query === state.query ? { query, view } : { query, view, clip: "" };
}

function showChips() {
  const chips = [];
  if (state.sound) chips.push(chip("like the sound", state.sound.name, () => change({ sound: null }, { push: true })));
  for (const field of ["like", "unlike"]) {
    for (const example of state[field]) {
      const { id, at } = readExample(example);
      const without = () => change({ [field]: state[field].filter((each) => each !== example) }, { push: true });
      const name = split(nameOf(id))[1] + (at === undefined ? "" : ` at ${point(at)}`);
      chips.push(chip(field === "like" ? "more like" : "not like", name, without, field));
      if (nameOf(id) === id) clipOf(id).then(showChips, () => {});
    }
  }
  byId("chips").replaceChildren(...chips);
}

function chip(kind, name, remove, field = "like") {
  const close = el("button", { type: "button", class: "icon", "aria-label": `Without ${kind} ${name}`, onclick: remove }, icon("close"));
  return el("li", { class: `chip ${field}` }, el("span", { text: kind }), el("b", { text: name }), close);
}
