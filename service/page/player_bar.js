// The bar at the bottom: what plays, where in it, and how.
import { byId, el } from "./dom.js";
import { icon } from "./icons.js";
import * as player from "./player.js";
import { clock, split } from "./times.js";
import { Waveform } from "./waveform.js";

let drawing = null;
let parts = null;

/** Whether moving through results plays each one. */
export function follows() {
  return localStorage.getItem("follow") === "yes";
}

/** Builds the bar. `step(±1)` goes to the neighbouring result. */
export function startPlayerBar(step) {
  const kept = Number(localStorage.getItem("volume") ?? 1);
  parts = {
    toggle: button("play", "Play", () => player.toggle(), "main icon"),
    name: el("span", { class: "name" }),
    folder: el("span", { class: "folder" }),
    wave: el("div", { class: "wave", role: "slider", tabindex: "0", "aria-label": "Position", "aria-valuemin": "0" }),
    time: el("span", { class: "times" }),
    repeat: button("repeat", "Repeat the matching moment (r)", () => player.repeat(!player.repeats)),
    follow: button("follow", "Play while moving through the results (a)", toggleFollow),
    volume: el("input", { type: "range", min: "0", max: "1", step: "0.01", value: String(kept), "aria-label": "Volume" }),
  };
  player.volume(kept);
  parts.volume.addEventListener("input", () => {
    player.volume(Number(parts.volume.value));
    localStorage.setItem("volume", parts.volume.value);
  });
  parts.wave.addEventListener("keydown", slide);
  byId("player").append(
    el("div", { class: "transport" }, button("previous", "Previous sound", () => step(-1)), parts.toggle, button("next", "Next sound", () => step(1))),
    el("div", { class: "names" }, parts.name, parts.folder),
    parts.wave,
    parts.time,
    el("div", { class: "modes" }, parts.repeat, parts.follow, el("label", { class: "volume" }, icon("volume"), parts.volume)),
  );
  player.playing.addEventListener("clip", showClip);
  player.playing.addEventListener("state", showState);
  player.playing.addEventListener("time", showTime);
  showState();
}

/** Switches playing while moving on or off. */
export function toggleFollow() {
  localStorage.setItem("follow", follows() ? "no" : "yes");
  showState();
}

function button(picture, name, onclick, kind = "icon") {
  return el("button", { type: "button", class: kind, "aria-label": name, title: name, onclick }, icon(picture));
}

function showClip() {
  const { clip } = player;
  byId("player").hidden = false;
  const [folder, name] = split(clip.path);
  parts.name.textContent = name;
  parts.folder.textContent = folder;
  if (drawing?.clip !== clip) {
    drawing?.end();
    drawing = new Waveform(clip, (time) => player.seek(time));
    parts.wave.replaceChildren(drawing.canvas);
    parts.wave.setAttribute("aria-valuemax", clip.seconds.toFixed(1));
  }
  showTime();
}

function showState() {
  const on = player.isPlaying();
  parts.toggle.replaceChildren(icon(on ? "pause" : "play"));
  parts.toggle.setAttribute("aria-label", on ? "Pause" : "Play");
  parts.toggle.title = `${on ? "Pause" : "Play"} (space)`;
  parts.repeat.setAttribute("aria-pressed", String(player.repeats));
  parts.follow.setAttribute("aria-pressed", String(follows()));
}

function showTime() {
  const { clip } = player;
  if (!clip) return;
  const time = Math.min(player.now(), clip.seconds);
  drawing?.at(time);
  const tenths = clip.seconds < 60;
  parts.time.textContent = `${clock(time, tenths)} / ${clock(clip.seconds, tenths)}`;
  parts.wave.setAttribute("aria-valuenow", time.toFixed(1));
  parts.wave.setAttribute("aria-valuetext", `${clock(time)} of ${clock(clip.seconds)}`);
}

function slide(event) {
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
  const to = { Home: 0, End: player.clip?.seconds };
  if (event.key in steps) player.seek(player.now() + steps[event.key]);
  else if (event.key in to) player.seek(to[event.key]);
  else return;
  event.preventDefault();
  event.stopPropagation();
}
