// A sound drawn as bars, its matching moments marked, the part that was heard in another colour.
import { colour, el } from "./dom.js";
import { momentsOf } from "./moments.js";
import { peaksOf } from "./peaks.js";

const BAR = 2; // pixels of a bar and of the gap after it, together 3
const drawings = new WeakMap();

/** Drawings that scrolled far out of sight give their pixels back. */
const sight = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) drawings.get(target)?.seen(isIntersecting);
  },
  { rootMargin: "300px" },
);
const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) drawings.get(target)?.draw();
});

/**
 * The drawing of a clip; `canvas` is its node, `at` moves its playhead. A press calls
 * `seek(seconds)`. Forget it with `end()`.
 */
export class Waveform {
  constructor(clip, seek) {
    this.clip = clip;
    this.marked = momentsOf(clip);
    this.canvas = el("canvas", { class: "waveform", "aria-hidden": "true" });
    this.canvas.addEventListener("click", (event) => {
      event.stopPropagation();
      const box = this.canvas.getBoundingClientRect();
      seek(((event.clientX - box.left) / box.width) * clip.seconds);
    });
    this.time = null;
    this.peaks = undefined;
    this.inSight = false;
    drawings.set(this.canvas, this);
    sight.observe(this.canvas);
    sizes.observe(this.canvas);
    this.repaint = () => this.draw();
    window.addEventListener("themechange", this.repaint);
  }

  /** Puts the playhead at a time in seconds; null takes it away. */
  at(time) {
    this.time = time;
    this.draw();
  }

  end() {
    this.leaving?.abort();
    sight.unobserve(this.canvas);
    sizes.unobserve(this.canvas);
    window.removeEventListener("themechange", this.repaint);
  }

  seen(inSight) {
    this.inSight = inSight;
    if (!inSight) {
      this.leaving?.abort();
      this.canvas.width = 0;
      return;
    }
    if (this.peaks === undefined) this.load();
    this.draw();
  }

  async load() {
    const ours = (this.leaving = new AbortController());
    const peaks = await peaksOf(this.clip, ours.signal).catch(() => undefined); // asked for again when it next comes into sight
    if (ours.signal.aborted) return;
    this.peaks = peaks;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!this.inSight || !width || !height) return;
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const brush = this.canvas.getContext("2d");
    brush.scale(scale, scale);
    const { seconds } = this.clip;
    const x = (time) => (time / seconds) * width;
    brush.fillStyle = colour("--moment-band");
    for (const { start, end } of this.marked) brush.fillRect(x(start), 0, Math.max(2, x(end) - x(start)), height);
    const inks = { plain: colour("--wave"), moment: colour("--moment"), heard: colour("--accent") };
    for (let left = 0; left < width; left += BAR + 1) {
      const time = (left / width) * seconds;
      const inside = this.marked.some(({ start, end }) => time >= start && time < end);
      brush.fillStyle = this.time !== null && time < this.time ? inks.heard : inside ? inks.moment : inks.plain;
      const bar = Math.max(1.5, this.height(left / width, (BAR + 1) / width) * (height - 4));
      brush.fillRect(left, (height - bar) / 2, BAR, bar);
    }
    if (this.time !== null) {
      brush.fillStyle = colour("--text");
      brush.fillRect(Math.min(width - 1.5, x(this.time)), 0, 1.5, height);
    }
  }

  /** The loudest peak in a share of the sound: 0 … 1. */
  height(from, wide) {
    if (!this.peaks?.length) return 0;
    const first = Math.floor(from * this.peaks.length);
    const last = Math.max(first + 1, Math.floor((from + wide) * this.peaks.length));
    return Math.max(0, ...this.peaks.slice(first, last));
  }
}
