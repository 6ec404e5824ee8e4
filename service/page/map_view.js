// The map of the library: similar sounds lie together; wander, listen, start a search from there.
import { ask } from "./api.js";
import { Camera } from "./camera.js";
import { clipOf } from "./clips.js";
import { byId, colour, el, say } from "./dom.js";
import { icon } from "./icons.js";
import { drawLabels } from "./map_labels.js";
import { painter } from "./map_paint.js";
import { listen } from "./map_pointer.js";
import { Points } from "./map_points.js";
import { showProblem } from "./notice.js";
import { isAbort } from "./problem.js";
import * as player from "./player.js";
import { hits, steer } from "./results.js";
import { isQuestion } from "./search.js";
import { change, onChange, state } from "./state.js";
import { split } from "./times.js";

const REACH = 16; // pixels around the pointer
const DWELL = 120; // ms over a point before it is played
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const camera = new Camera();
let points = null;
let loading = null;
let parts = null;
let paint = null;
let waiting = 0;
let hovered = -1;
let selected = -1;
let dwelling = 0;
let wanted = 0;
let found = []; // numbers of the points that the search found, best first

/** Builds the view; the points are asked for when it is first shown. */
export function startMap() {
  const canvas = el("canvas", { class: "points", "aria-hidden": "true" });
  const labels = el("canvas", {
    class: "labels",
    tabindex: "0",
    role: "application",
    "aria-label": "Map of the library. Arrow keys go from sound to sound, Enter plays, plus and minus zoom.",
  });
  parts = {
    canvas,
    labels,
    card: el("div", { class: "card", hidden: true }),
    state: el("p", { class: "soft state" }),
    hover: el("input", { type: "checkbox", id: "hover" }),
  };
  const tool = (picture, name, onclick) => el("button", { type: "button", class: "icon", "aria-label": name, title: name, onclick }, icon(picture));
  byId("map-view").append(
    canvas,
    labels,
    el(
      "div",
      { class: "map-tools" },
      tool("more", "Nearer (+)", () => zoom(1.6)),
      tool("less", "Further away (−)", () => zoom(1 / 1.6)),
      tool("fit", "See all (0)", () => see(() => camera.fit())),
    ),
    el("label", { class: "hover" }, parts.hover, "Play what the pointer is over"),
    parts.state,
    parts.card,
  );
  paint = painter(canvas);
  listen(labels, {
    pan: (right, below) => see(() => camera.pan(right, below)),
    zoom: (factor, left, top) => see(() => camera.zoomAt(factor, left, top)),
    hover,
    leave: () => point(-1),
    pick: (left, top) => pick(under(left, top)),
  });
  labels.addEventListener("keydown", press);
  new ResizeObserver(resize).observe(labels);
  window.addEventListener("themechange", ink);
  window.addEventListener("found", ink);
  player.playing.addEventListener("clip", draw);
  onChange((_, before) => {
    if (state.view === "map" && before.view !== "map") enter();
  });
  if (state.view === "map") enter();
}

/** The id of the selected point's clip, null without. */
export function selectedPoint() {
  return points && selected >= 0 ? points.ids[selected] : null;
}

async function enter() {
  loading ??= load();
  await loading;
  if (points && state.clip && points.number.has(state.clip)) {
    selected = points.number.get(state.clip);
    camera.reveal(points.x[selected], points.y[selected]);
    showCard();
  }
  resize();
}

async function load() {
  parts.state.textContent = "Drawing the map …";
  try {
    const answer = await ask("/v1/map");
    points = new Points(answer);
    parts.state.textContent = points.length ? `${points.length.toLocaleString("en")} sounds; alike ones lie together` : "The library is empty.";
    ink();
  } catch (error) {
    loading = null;
    parts.state.textContent = "";
    if (!isAbort(error)) showProblem(error);
  }
}

/** Colours: a hue for each folder; with a search, what it found stands out of the rest. */
function ink() {
  if (!points) return;
  const ids = isQuestion(state) ? hits().map((hit) => hit.id) : [];
  found = ids.map((id) => points.number.get(id)).filter((at) => at !== undefined);
  const hues = Array.from({ length: 12 }, (_, hue) => bytesOf(colour(`--hue-${hue}`)));
  const bytes = new Uint8Array(4 * points.length);
  for (let at = 0; at < points.length; at += 1) {
    bytes.set(hues[points.hue[at]], 4 * at);
    bytes[4 * at + 3] = found.length ? 70 : 235;
  }
  for (const at of found) bytes[4 * at + 3] = 255;
  paint.ink(points, bytes);
  draw();
}

function resize() {
  const { clientWidth: width, clientHeight: height } = parts.labels;
  if (!width || !height) return;
  const pixels = window.devicePixelRatio || 1;
  for (const canvas of [parts.canvas, parts.labels]) {
    canvas.width = Math.round(width * pixels);
    canvas.height = Math.round(height * pixels);
  }
  [camera.width, camera.height] = [width, height];
  draw();
}

/** One drawing for each frame, however much changed. */
function draw() {
  if (!points || waiting || state.view !== "map") return;
  waiting = requestAnimationFrame(() => {
    waiting = 0;
    const pixels = window.devicePixelRatio || 1;
    paint.paint(camera, pixels);
    const brush = parts.labels.getContext("2d");
    brush.setTransform(pixels, 0, 0, pixels, 0, 0);
    brush.clearRect(0, 0, camera.width, camera.height);
    const heard = player.clip ? (points.number.get(player.clip.id) ?? -1) : -1;
    const marks = [{ at: selected, kind: "selected" }, { at: heard, kind: "heard" }, { at: hovered, kind: "hovered" }];
    drawLabels(brush, points, camera, marks.filter(({ at }, i) => at >= 0 && marks.findLastIndex((mark) => mark.at === at) === i), found);
  });
}

function see(move) {
  move();
  draw();
}

function zoom(factor) {
  const middle = selected >= 0 ? camera.toScreen(points.x[selected], points.y[selected]) : [];
  see(() => camera.zoomAt(factor, ...middle));
}

function under(left, top) {
  return points ? points.nearest(...camera.toMap(left, top), ...camera.scale.map((scale) => REACH / scale)) : -1;
}

function hover(left, top) {
  point(under(left, top));
}

function point(at) {
  if (at === hovered) return;
  hovered = at;
  parts.labels.classList.toggle("over", at >= 0);
  clearTimeout(dwelling);
  if (parts.hover.checked) wanted += 1; // what the pointer has left is not to be heard any more
  if (at >= 0 && parts.hover.checked) dwelling = setTimeout(() => listenTo(at), DWELL);
  draw();
}

function pick(at) {
  if (at < 0) return;
  selected = at;
  say(split(points.names[at])[1]);
  showCard();
  listenTo(at);
  draw();
}

async function listenTo(at) {
  const ours = (wanted += 1);
  try {
    const clip = await clipOf(points.ids[at]);
    if (ours === wanted) player.play(clip, 0);
  } catch (error) {
    if (ours === wanted) showProblem(error);
  }
}

function press(event) {
  if (!points || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in ARROWS) go(...ARROWS[event.key]);
  else if (event.key === "Enter") pick(selected);
  else if (event.key === "+" || event.key === "=") zoom(1.6);
  else if (event.key === "-") zoom(1 / 1.6);
  else if (event.key === "0") see(() => camera.fit());
  else return;
  event.preventDefault();
  event.stopPropagation();
}

function go(dx, dy) {
  const next = selected < 0 ? points.nearest(camera.x, camera.y, 3, 3) : points.neighbour(selected, dx, dy);
  if (next < 0) return;
  camera.reveal(points.x[next], points.y[next]);
  if (parts.hover.checked) {
    pick(next);
    return;
  }
  selected = next;
  say(split(points.names[next])[1]);
  showCard();
  draw();
}

function showCard() {
  const id = points.ids[selected];
  const [folder, name] = split(points.names[selected]);
  const action = (picture, words, onclick) => el("button", { type: "button", class: "icon", "aria-label": `${words} ${name}`, title: words, onclick }, icon(picture));
  parts.card.hidden = false;
  parts.card.replaceChildren(
    el("div", { class: "names" }, el("span", { class: "name", text: name }), el("span", { class: "folder", text: folder })),
    action("play", "Play", () => listenTo(points.number.get(id))),
    action("more", "More like", () => steer(id, "like")),
    action("less", "Not like", () => steer(id, "unlike")),
    action("open", "Details of", () => change({ view: "search", clip: id }, { push: true })),
  );
}

/** "rgb(1, 2, 3)" or "#010203" → [1, 2, 3], by way of a canvas, which knows every notation. */
function bytesOf(css) {
  const brush = new OffscreenCanvas(1, 1).getContext("2d");
  brush.fillStyle = css;
  brush.fillRect(0, 0, 1, 1);
  return brush.getImageData(0, 0, 1, 1).data.slice(0, 3);
}
