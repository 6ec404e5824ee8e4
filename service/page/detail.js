// What is below an opened row: spectrogram, tags along time, metadata, links.
import { fetched, media } from "./api.js";
import { captionNote, captionsOf } from "./captioning.js";
import { el } from "./dom.js";
import { momentsOf } from "./moments.js";
import { showProblem } from "./notice.js";
import { isAbort } from "./problem.js";
import * as player from "./player.js";
import { change } from "./state.js";
import { tagList, tagsOf, tagsOfClip, timelineTable } from "./tagging.js";
import { clock, point, span } from "./times.js";

const WIDTH = 1200;
const HEIGHT = 240;
const SLIM = 60; // shares of a recording: a frame around shorter moments would hide them
const SENT = 120; // seconds; longer sounds are not sent to be heard anew: their index knows enough

/** The details of a clip; `node`, and `at(time)` moves the playhead. */
export class Detail {
  constructor(clip) {
    this.clip = clip;
    this.leaving = new AbortController();
    this.head = el("i", { class: "playhead", hidden: true });
    this.picture = this.spectrogram();
    this.heard = el("div", { class: "heard" });
    this.node = el("div", { class: "detail" }, this.picture, el("div", { class: "facts" }, this.heard, this.about()));
    this.node.addEventListener("click", (event) => event.stopPropagation());
    this.repaint = () => this.load();
    window.addEventListener("themechange", this.repaint);
    this.load();
    this.tag();
  }

  at(time) {
    this.head.hidden = time === null;
    if (time !== null) this.head.style.left = `${(100 * time) / this.clip.seconds}%`;
  }

  end() {
    this.leaving.abort();
    window.removeEventListener("themechange", this.repaint);
  }

  spectrogram() {
    const { seconds } = this.clip;
    this.image = el("img", { alt: "Spectrogram: time from left to right, frequency upwards" });
    const marks = momentsOf(this.clip).map(({ start, end }) => {
      const slim = end - start < seconds / SLIM ? "moment slim" : "moment";
      const mark = el("span", { class: slim, title: "a matching moment" });
      mark.style.left = `${(100 * start) / seconds}%`;
      mark.style.width = `${(100 * (end - start)) / seconds}%`;
      return mark;
    });
    const frame = el("div", { class: "spectrogram", hidden: !this.clip.spectrogram }, this.image, marks, this.head);
    frame.addEventListener("click", (event) => {
      const box = frame.getBoundingClientRect();
      player.play(this.clip, ((event.clientX - box.left) / box.width) * seconds);
    });
    this.image.addEventListener("error", () => (frame.hidden = true));
    this.image.addEventListener("load", () => (frame.hidden = false));
    return frame;
  }

  async load() {
    if (!this.clip.spectrogram) return;
    const from = this.clip.spectrogram;
    const address = `${from}${from.includes("?") ? "&" : "?"}width=${WIDTH}&height=${HEIGHT}&theme=${theme()}`;
    try {
      this.image.src = await media(address, this.leaving.signal);
    } catch (error) {
      if (!isAbort(error)) this.picture.hidden = true;
    }
  }

  async tag() {
    this.heard.replaceChildren(el("p", { class: "soft", text: "Listening …" }));
    try {
      const [{ tags, timeline }, captions] = await this.listen(this.leaving.signal);
      const find = (name) => change({ query: name, like: [], unlike: [], sound: null, clip: "" }, { push: true });
      const along = timeline?.length > 1 && timelineTable(tags, timeline, (time) => player.play(this.clip, time));
      const note = captionNote(captions, (time) => player.play(this.clip, time));
      this.heard.replaceChildren(el("h3", { text: "Heard in it" }), note, tagList(tags, find), along || "");
    } catch (error) {
      if (isAbort(error)) return;
      this.heard.replaceChildren(el("p", { class: "soft", text: `No tags: ${error.message}` }));
    }
  }

  /** Tags and captions; captions are null where there are none. */
  async listen(signal) {
    if (this.clip.seconds > SENT) return [await tagsOfClip(this.clip, signal), null];
    const sound = await fetched(this.clip.audio, { signal });
    const file = new File([await sound.blob()], this.clip.path.split("/").pop());
    const captions = this.clip.metadata?.caption ? null : captionsOf(file, signal);
    return Promise.all([tagsOf(file, [], signal), captions]);
  }

  about() {
    const { clip } = this;
    const moments = momentsOf(clip);
    const rows = [
      ["length", clock(clip.seconds, true)],
      clip.start !== undefined && ["best moment", span(clip.start, clip.end)],
      moments.length > 1 && ["all moments", el("div", { class: "moments" }, moments.map((each) => this.moment(each)))],
      ...(clip.paths ?? [clip.path]).map((path, at) => [at ? "also" : "file", path]),
      ...Object.entries(clip.metadata ?? {}).map(([name, value]) => [name, words(value)]),
    ].filter(Boolean);
    const name = clip.path.split("/").pop();
    const link = new URL(`/?clip=${encodeURIComponent(clip.id)}`, location.href);
    return el(
      "div",
      { class: "about" },
      el("h3", { text: "About it" }),
      el("dl", {}, rows.map(([term, value]) => [el("dt", { text: term }), el("dd", {}, value)])),
      el(
        "p",
        { class: "buttons" },
        el("button", { type: "button", text: "Download", onclick: () => this.download(name) }),
        el("button", { type: "button", text: "Copy path", onclick: (event) => copy(clip.path, event.target) }),
        el("button", { type: "button", text: "Copy link", onclick: (event) => copy(link.href, event.target) }),
        el("button", { type: "button", text: "Show on the map", onclick: () => change({ view: "map" }, { push: true }) }),
      ),
    );
  }

  moment({ start, end }) {
    const play = () => player.play({ ...this.clip, start, end });
    return el("button", { type: "button", class: "link", text: point(start), title: `Play ${span(start, end)}`, onclick: play });
  }

  async download(name) {
    try {
      el("a", { href: await media(this.clip.audio, this.leaving.signal), download: name }).click();
    } catch (error) {
      if (!isAbort(error)) showProblem(error);
    }
  }
}

/** light or dark, as shown. */
function theme() {
  const chosen = document.documentElement.dataset.theme;
  if (chosen !== "auto") return chosen;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

function words(value) {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed here";
  }
  setTimeout(() => (button.textContent = before), 1500);
}
