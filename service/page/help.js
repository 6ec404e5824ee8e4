// What the keys do, and the switch that turns the single-letter ones off.
import { byId, el } from "./dom.js";

const KEYS = [
  ["/", "to the search box"],
  ["↑ ↓", "from sound to sound"],
  ["Enter", "open or close the details"],
  ["Space", "play the selected sound from its moment; pause"],
  ["← →", "one second back or on"],
  ["l", "more like this"],
  ["n", "not like this"],
  ["r", "repeat the matching moment"],
  ["a", "play while moving through the results"],
  ["f", "filters"],
  ["s  m  t", "search, map, tag a sound"],
  ["Esc", "close; out of the search box"],
  ["?", "this help"],
];

/** Whether single letters do something. */
export function lettersOn() {
  return localStorage.getItem("letters") !== "no";
}

/** Shows the help. */
export function showHelp() {
  const letters = el("input", { type: "checkbox", id: "letters" });
  letters.checked = lettersOn();
  letters.addEventListener("change", () => localStorage.setItem("letters", letters.checked ? "yes" : "no"));
  const dialog = el(
    "dialog",
    { class: "dialog", "aria-labelledby": "help-title" },
    el(
      "form",
      { method: "dialog" },
      el("h2", { id: "help-title", text: "Keys" }),
      el("dl", { class: "keys" }, KEYS.map(([key, does]) => [el("dt", {}, key.split(/\s+/).map((each) => el("kbd", { text: each }))), el("dd", { text: does })])),
      el("p", {}, letters, el("label", { for: "letters", text: " single letters work" })),
      el("p", { text: "On the map: arrows go from sound to sound, Enter plays, + and − zoom, 0 shows all. Drag to move, scroll to zoom." }),
      el("p", { text: "A sound can be dropped anywhere: to find sounds like it, or to see what is heard in it." }),
      el("p", { text: "Dragged by its name, a sound goes into a folder or another program." }),
      el("p", { class: "buttons" }, el("button", { class: "main", text: "Close" }), el("a", { href: "/docs", text: "The API behind this page" })),
    ),
  );
  dialog.addEventListener("close", () => {
    dialog.remove();
    byId("help").focus();
  });
  document.body.append(dialog);
  dialog.showModal();
}
