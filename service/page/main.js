// Puts the page together: each module gets its part of it and the ones it talks to.
import { ask } from "./api.js";
import { byId } from "./dom.js";
import { startDropping } from "./dropping.js";
import { startExport } from "./export.js";
import { startFilters } from "./filters.js";
import { showHelp } from "./help.js";
import { icon } from "./icons.js";
import { startKeyboard } from "./keyboard.js";
import { startMap } from "./map_view.js";
import { startPlayerBar } from "./player_bar.js";
import { startQuery } from "./query.js";
import { canRecord, record } from "./recorder.js";
import { playNeighbour, startResults } from "./results.js";
import { change, onChange, state } from "./state.js";
import { startTagsView, tagFile } from "./tags_view.js";
import { clock, length } from "./times.js";

/** A sound from outside goes to the search or to the tags. */
function take(file, where) {
  if (where === "tags") tagFile(file);
  else change({ sound: file, query: "", like: [], unlike: [], clip: "", view: state.view === "map" ? "map" : "search" }, { push: true });
}

function startFiles() {
  const input = byId("file");
  let where = "search";
  const choose = (place) => () => {
    where = place;
    input.click();
  };
  input.addEventListener("change", () => {
    if (input.files[0]) take(input.files[0], where);
    input.value = "";
  });
  const recorded = (place, show) => () => record(show, (file) => take(file, place));
  byId("choose").append(icon("file"));
  byId("choose").addEventListener("click", choose("search"));
  startTagsView(choose("tags"), canRecord() && recorded("tags", (seconds) => showTime(byId("record-tags"), "Record one", seconds)));
  byId("record").hidden = !canRecord();
  byId("record").append(icon("record"));
  byId("record").addEventListener("click", recorded("search", (seconds) => showRecording(seconds)));
}

function showRecording(seconds) {
  const button = byId("record");
  const on = seconds !== null;
  button.classList.toggle("recording", on);
  button.setAttribute("aria-label", on ? "Stop recording and search" : "Record a sound");
  button.title = button.getAttribute("aria-label");
  button.replaceChildren(icon(on ? "stop" : "record"), on ? clock(seconds, false) : "");
}

function showTime(button, words, seconds) {
  button.classList.toggle("recording", seconds !== null);
  button.textContent = seconds === null ? words : `Stop (${clock(seconds, false)})`;
}

function startViews() {
  const buttons = [...document.querySelectorAll("[data-view]")];
  for (const button of buttons) {
    button.addEventListener("click", () => change({ view: button.dataset.view }, { push: true }));
  }
  const show = () => {
    document.body.dataset.shown = state.view;
    for (const button of buttons) {
      const here = button.dataset.view === state.view;
      if (here) button.setAttribute("aria-current", "page");
      else button.removeAttribute("aria-current");
      byId(`${button.dataset.view}-view`).hidden = !here;
    }
    byId("ask").hidden = state.view === "tags";
    document.title = state.query ? `${state.query} – m2d-clap` : "m2d-clap";
  };
  onChange(show);
  show();
}

function startTheme() {
  const button = byId("theme");
  const show = () => {
    const theme = window.keptTheme();
    button.replaceChildren(icon(theme));
    button.title = theme === "auto" ? "Colours: as the system" : `Colours: ${theme}`;
    button.setAttribute("aria-label", button.title);
  };
  button.addEventListener("click", () => {
    window.showTheme(window.nextTheme());
    show();
  });
  show();
}

async function showLibrary() {
  try {
    const { clips, seconds, library } = await ask("/v1/index", { patient: false });
    const parts = [library, `${clips.toLocaleString("en")} sounds`, seconds && length(seconds)];
    byId("library").textContent = parts.filter(Boolean).join(" · ");
  } catch {
    byId("library").textContent = ""; // an ornament: the search itself says what is wrong
  }
}

startViews();
startTheme();
startQuery();
startFilters();
startFiles();
startDropping(take);
startExport();
startPlayerBar(playNeighbour);
startResults();
startMap();
startKeyboard();
byId("help").append(icon("help"));
byId("help").addEventListener("click", showHelp);
showLibrary();
