// What a sound sounds like, in a sentence, where the server's model can say it.
import { ask } from "./api.js";
import { el } from "./dom.js";
import { span } from "./times.js";

let able = null;

/** The caption of a File, or null where the model makes none. */
export async function captionsOf(file, signal) {
  able ??= ask("/v1/model").then((model) => model.captioner, () => ((able = null), false));
  if (!(await able)) return null;
  const form = new FormData();
  form.append("file", file, file.name);
  form.append("timeline", "true");
  return ask("/v1/captions", { body: form, signal });
}

/** The caption and, of a long sound, when what. `seek(seconds)` plays. */
export function captionNote(captions, seek) {
  if (!captions) return "";
  const moments = captions.timeline?.length > 1 ? captions.timeline : [];
  return el(
    "div",
    { class: "captions" },
    el("p", { class: "caption", text: captions.caption }),
    moments.length > 0 &&
      el("ul", { "aria-label": "Captions along time" }, moments.map(({ start, end, caption }) =>
        el("li", {}, el("button", { type: "button", class: "link", text: span(start, end), onclick: () => seek(start) }), ` ${caption}`),
      )),
  );
}
