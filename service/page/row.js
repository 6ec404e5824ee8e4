// One sound of a list: play, how well it fits, its name, its waveform with the moment, what to do.
import { el } from "./dom.js";
import { draggable } from "./dragging.js";
import { icon } from "./icons.js";
import { momentsOf, whole } from "./moments.js";
import * as player from "./player.js";
import { clock, cosine, span, split } from "./times.js";
import { Waveform } from "./waveform.js";

let numbered = 0;

/**
 * A row for a hit. `does`: {select, open, like, unlike}, each called with the row.
 * `best`: the best score of its list, which fills the bar where no relevance is known.
 */
export class Row {
  constructor(hit, best, does) {
    this.hit = hit;
    this.detail = null;
    const [folder, name] = split(hit.path);
    const id = `row-${(numbered += 1)}`;
    this.wave = new Waveform(hit, (time) => {
      does.select(this);
      player.play(hit, time);
    });
    this.playButton = small("play", "", () => {
      does.select(this);
      player.toggle(hit);
    });
    this.openButton = small("open", `Details of ${name}`, () => does.open(this));
    this.openButton.setAttribute("aria-expanded", "false");
    this.node = el(
      "article",
      { class: "row", tabindex: "-1", "aria-labelledby": `${id}-name ${id}-fit ${id}-times` },
      this.playButton,
      fit(hit, best, `${id}-fit`),
      el(
        "div",
        { class: "names" },
        el("span", { class: "name", id: `${id}-name`, text: name, title: hit.path }),
        el("span", { class: "folder", text: hit.metadata?.caption ?? folder, title: hit.path }),
      ),
      el("div", { class: "wave" }, this.wave.canvas),
      times(hit, `${id}-times`),
      el(
        "div",
        { class: "actions" },
        small("more", `More like ${name}`, () => does.like(this)),
        small("less", `Not like ${name}`, () => does.unlike(this)),
        this.openButton,
      ),
    );
    this.node.addEventListener("focusin", () => does.select(this));
    const names = this.node.querySelector(".names");
    names.addEventListener("click", () => does.open(this));
    draggable(names, hit);
    this.showPlaying();
  }

  /** Only the selected row's buttons are reached with Tab. */
  select(on) {
    this.node.classList.toggle("selected", on);
    this.node.tabIndex = on ? 0 : -1;
    for (const button of this.node.querySelectorAll(":scope > button, .actions button")) {
      button.tabIndex = on ? 0 : -1;
    }
  }

  /** Shows or takes away what is below the row. */
  expand(detail) {
    this.detail?.end();
    this.detail = detail;
    this.node.querySelector(".detail")?.remove();
    if (detail) this.node.append(detail.node);
    this.node.classList.toggle("opened", Boolean(detail));
    this.openButton.setAttribute("aria-expanded", String(Boolean(detail)));
  }

  showPlaying() {
    const mine = player.isCurrent(this.hit);
    const on = mine && player.isPlaying();
    const name = split(this.hit.path)[1];
    const from = this.hit.start ? ` from ${clock(this.hit.start)}` : "";
    this.node.classList.toggle("current", mine);
    this.playButton.replaceChildren(icon(on ? "pause" : "play"));
    this.playButton.setAttribute("aria-label", on ? `Pause ${name}` : `Play ${name}${from}`);
    this.showTime();
  }

  showTime() {
    const time = player.isCurrent(this.hit) ? player.now() : null;
    if (time !== this.wave.time) this.wave.at(time);
    this.detail?.at(time);
  }

  end() {
    this.wave.end();
    this.detail?.end();
  }
}

function small(picture, name, onclick) {
  return el("button", { type: "button", class: "icon", tabindex: "-1", "aria-label": name, title: name, onclick }, icon(picture));
}

/** The bar: relevance where the server knows one, else the score beside the list's best. */
function fit(hit, best, id) {
  if (hit.score === undefined) return el("span", { class: "fit none", id });
  const known = typeof hit.relevance === "number";
  const share = known ? hit.relevance : best > 0 ? hit.score / best : 0;
  const level = el("i");
  level.style.width = `${Math.round(100 * Math.min(1, Math.max(0, share)))}%`;
  const title = `${known ? `relevance ${Math.round(100 * share)} %, ` : ""}cosine ${cosine(hit.score)}`;
  return el("span", { class: "fit", role: "img", id, "aria-label": title, title }, level);
}

function times(hit, id) {
  const more = momentsOf(hit).length - 1;
  const others = more > 0 ? { words: ` +${more}`, title: `and ${more} more, all marked in the waveform` } : { words: "" };
  const moment = !whole(hit) && el("b", { text: span(hit.start, hit.end) + others.words, title: others.title });
  return el("span", { class: "times", id }, moment, el("span", { text: clock(hit.seconds) }));
}
