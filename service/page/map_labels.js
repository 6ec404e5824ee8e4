// Names on the map: folders from afar, sounds from near, none over another.
import { colour } from "./dom.js";
import { split } from "./times.js";

const MOST_NAMES = 160;
const MOST_GROUPS = 60;
const MOST_FOUND = 40;
const NEAR = 4; // times the scale at which all is seen
const FONT = "12px system-ui, sans-serif";

/**
 * Draws names, and rings around the marked points ({at, kind}: selected, hovered or heard).
 * `found`: numbers of the points a search found, best first; then these are named from afar.
 */
export function drawLabels(brush, points, camera, marks, found) {
  const inks = { text: colour("--text"), soft: colour("--soft"), halo: colour("--ground"), accent: colour("--accent"), moment: colour("--moment") };
  const taken = [];
  brush.font = FONT;
  brush.textBaseline = "middle";
  brush.lineJoin = "round";
  for (const { at, kind } of marks) {
    const [left, top] = camera.toScreen(points.x[at], points.y[at]);
    brush.beginPath();
    brush.arc(left, top, kind === "hovered" ? 7 : 9, 0, 2 * Math.PI);
    brush.lineWidth = 2;
    brush.strokeStyle = kind === "heard" ? inks.moment : inks.accent;
    brush.stroke();
    write(brush, camera, split(points.names[at])[1], [left, top], 13, inks.text, inks, taken, true);
  }
  const name = (at) => {
    const spot = camera.toScreen(points.x[at], points.y[at]);
    write(brush, camera, split(points.names[at])[1], spot, 9, inks.soft, inks, taken);
  };
  found.slice(0, MOST_FOUND).forEach(name);
  const near = seen(points, camera);
  if (near.length === 0 && !found.length) groupNames(brush, points, camera, inks, taken);
  near.forEach(name);
}

function groupNames(brush, points, camera, inks, taken) {
  brush.font = `600 ${FONT}`;
  for (const group of points.groups.slice(0, MOST_GROUPS)) {
    if (!group.name) continue;
    const half = brush.measureText(group.name).width / 2;
    write(brush, camera, group.name, camera.toScreen(group.x, group.y), -half, inks.text, inks, taken);
  }
}

/** The points in view that are named: all where they are few, from nearer some, the same ones while
 * one moves; none from afar. */
function seen(points, camera) {
  const found = [];
  points.within(...camera.box, (at) => {
    found.push(at);
    return camera.zoom >= NEAR || found.length <= MOST_NAMES;
  });
  if (found.length <= MOST_NAMES) return found;
  if (camera.zoom < NEAR) return [];
  const step = 2 ** Math.ceil(Math.log2(found.length / MOST_NAMES));
  return found.filter((at) => at % step === 0);
}

/** One name, `beside` pixels right of its point, or left of it at the view's edge. */
function write(brush, camera, text, [x, top], beside, ink, inks, taken, always = false) {
  const width = brush.measureText(text).width;
  const left = x + beside + width > camera.width ? x - beside - width : x + beside;
  const box = [left - 3, top - 9, left + width + 3, top + 9];
  const clash = taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1]);
  if (clash && !always) return;
  taken.push(box);
  brush.lineWidth = 3;
  brush.strokeStyle = inks.halo;
  brush.strokeText(text, left, top);
  brush.fillStyle = ink;
  brush.fillText(text, left, top);
}
