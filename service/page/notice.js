// What is wrong or waited for, in one place above the results.
import { traffic } from "./api.js";
import { byId, el } from "./dom.js";
import { icon } from "./icons.js";
import { isAbort } from "./problem.js";

let waits = false;

/** Says what went wrong until something works again or the person closes it. */
export function showProblem(error) {
  if (isAbort(error)) return;
  waits = false;
  const title = error.title ?? "That did not work";
  const detail = error.detail ?? error.message;
  show(el("strong", { text: title }), el("span", { text: detail === title ? "" : detail }));
}

/** Takes the notice away. */
export function clearNotice() {
  waits = false;
  byId("notice").hidden = true;
}

function show(...content) {
  const close = el("button", { type: "button", class: "icon", "aria-label": "Close this message", onclick: clearNotice }, icon("close"));
  const notice = byId("notice");
  notice.classList.toggle("waiting", waits);
  notice.replaceChildren(...content, close);
  notice.hidden = false;
}

traffic.addEventListener("waiting", ({ detail: problem }) => {
  waits = true;
  show(el("strong", { text: `${problem.title}.` }), el("span", { text: `${problem.detail}. Trying again …` }));
});
traffic.addEventListener("answered", () => {
  if (waits) clearNotice();
});
