// The view that says what is heard in a sound: drop one, see its tags and where they are.
import { captionNote, captionsOf } from "./captioning.js";
import { byId, el } from "./dom.js";
import { clearNotice, showProblem } from "./notice.js";
import { peaksOfFile } from "./peaks.js";
import { isAbort } from "./problem.js";
import * as player from "./player.js";
import { change, state } from "./state.js";
import { tagList, tagsOf, timelineTable } from "./tagging.js";
import { clock } from "./times.js";
import { Waveform } from "./waveform.js";

let parts = null;
let asked = null;
let present = null;
let drawing = null;

/** Builds the view. `choose()` lets the person choose a file, `record()` record one. */
export function startTagsView(choose, record) {
  parts = {
    labels: el("input", { type: "text", id: "labels", placeholder: "AudioSet’s names; or your own: a dog, barking; rain", autocomplete: "off" }),
    answer: el("div", { class: "answer", "aria-live": "polite" }),
  };
  parts.labels.addEventListener("change", () => present && tagFile(present));
  byId("tags-view").append(
    el(
      "div",
      { class: "drop" },
      el("p", { text: "Drop a sound here to see what is heard in it, and when." }),
      el(
        "p",
        { class: "buttons" },
        el("button", { type: "button", class: "main", id: "choose-tags", text: "Choose a sound", onclick: choose }),
        record && el("button", { type: "button", id: "record-tags", text: "Record one", onclick: record }),
      ),
      el("p", { class: "field" }, el("label", { for: "labels", text: "Labels, between semicolons" }), parts.labels),
    ),
    parts.answer,
  );
}

/** Asks for the tags of a File and shows them. */
export async function tagFile(file) {
  asked?.abort();
  const ours = (asked = new AbortController());
  present = file;
  change({ view: "tags" }, { push: state.view !== "tags" });
  parts.answer.replaceChildren(el("p", { class: "soft", text: `Listening to ${file.name} …` }));
  const labels = parts.labels.value.split(";").map((label) => label.trim()).filter(Boolean);
  try {
    const [answer, captions, { seconds, peaks }] = await Promise.all([
      tagsOf(file, labels, ours.signal),
      captionsOf(file, ours.signal),
      peaksOfFile(file),
    ]);
    if (ours.signal.aborted) return;
    clearNotice();
    show(file, answer, captions, seconds ?? answer.timeline?.at(-1)?.end ?? 0, peaks);
  } catch (error) {
    if (isAbort(error) || ours.signal.aborted) return;
    parts.answer.replaceChildren();
    showProblem(error);
  }
}

function show(file, { tags, timeline }, captions, seconds, peaks) {
  const clip = { id: null, path: file.name, seconds, audio: URL.createObjectURL(file), peaks };
  const find = (name) => change({ query: name, like: [], unlike: [], sound: null, clip: "", view: "search" }, { push: true });
  const seek = (time) => player.play(clip, time);
  if (drawing) URL.revokeObjectURL(drawing.clip.audio);
  drawing?.end();
  drawing = new Waveform(clip, seek);
  parts.answer.replaceChildren(
    el("h2", { text: file.name }),
    captionNote(captions, seek),
    el(
      "p",
      { class: "buttons" },
      el("button", { type: "button", class: "main", text: "Play", onclick: () => player.toggle(clip) }),
      el("button", { type: "button", text: "Find sounds like it", onclick: () => change({ sound: file, query: "", like: [], unlike: [], clip: "", view: "search" }, { push: true }) }),
      seconds > 0 && el("span", { class: "soft", text: clock(seconds, true) }),
    ),
    el("div", { class: "wave large" }, drawing.canvas),
    timeline?.length ? timelineTable(tags, timeline, seek) : "",
    el("h3", { text: "In all of it" }),
    tagList(tags, find),
  );
}

player.playing.addEventListener("time", () => {
  if (drawing) drawing.at(player.isCurrent(drawing.clip) ? player.now() : null);
});
