// Keys for the whole page. A field, a button or a dialog that has the focus keeps its own.
import { byId, takesKeys } from "./dom.js";
import { toggleFilters } from "./filters.js";
import { lettersOn, showHelp } from "./help.js";
import { selectedPoint } from "./map_view.js";
import { exampleOf } from "./moments.js";
import * as player from "./player.js";
import { toggleFollow } from "./player_bar.js";
import { move, selectedHit, steer, toggleSelected } from "./results.js";
import { change, state } from "./state.js";

const LETTERS = {
  s: () => change({ view: "search" }, { push: true }),
  m: () => change({ view: "map" }, { push: true }),
  t: () => change({ view: "tags" }, { push: true }),
  l: () => steerBy("like"),
  n: () => steerBy("unlike"),
  r: () => player.repeat(!player.repeats),
  a: toggleFollow,
  f: toggleFilters,
  "?": showHelp,
};

/** Listens to the page's keys. */
export function startKeyboard() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]")) return;
    const does = takesKeys(event.target) ? fromField(event) : ofPage(event);
    if (!does) return;
    event.preventDefault();
    does();
  });
}

/** In the search box, arrows and Escape lead out to the results. */
function fromField(event) {
  const box = byId("query");
  if (event.key === "Escape") return () => event.target.blur();
  if (event.target === box && event.key === "ArrowDown" && state.view === "search") return () => move(0);
  return null;
}

function ofPage(event) {
  const pressed = event.target.closest?.("button, a, summary, input");
  if (event.target.matches?.(".timeline, input[type=range]") && event.key.startsWith("Arrow")) return null; // it moves
  if (event.key === "/") return toBox;
  if (event.key === " " && !pressed) return playOrPause;
  if (event.key === "Enter" && !pressed && state.view === "search") return toggleSelected;
  if (event.key === "ArrowLeft") return () => player.seek(player.now() - 1);
  if (event.key === "ArrowRight") return () => player.seek(player.now() + 1);
  if (event.key === "Escape" && state.clip) return () => change({ clip: "" }, { push: true });
  if (state.view === "search" && event.key === "ArrowDown") return () => move(1);
  if (state.view === "search" && event.key === "ArrowUp") return () => move(-1);
  return lettersOn() ? (LETTERS[event.key] ?? null) : null;
}

/** More like, or not like, what is selected where that can be seen. */
function steerBy(field) {
  const row = state.view === "search" && selectedHit();
  const example = row ? exampleOf(row) : state.view === "map" ? selectedPoint() : null;
  if (example) steer(example, field);
}

/** Space is for the selected row where rows are on show, else for what is loaded. */
function playOrPause() {
  if (state.view === "search" && selectedHit()) player.toggle(selectedHit());
  else player.toggle();
}

function toBox() {
  if (state.view === "tags") change({ view: "search" }, { push: true });
  byId("query").focus();
  byId("query").select();
}
