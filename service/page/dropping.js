// Sounds dropped anywhere on the page; where there is a choice, the half they fall on decides.
import { byId } from "./dom.js";
import { state } from "./state.js";

/** `take(file, "search" or "tags")` gets what was dropped. */
export function startDropping(take) {
  const shade = byId("dropping");
  const halves = [...shade.querySelectorAll("[data-drop]")];
  let inside = 0;

  window.addEventListener("dragenter", (event) => {
    if (!holdsFile(event)) return;
    inside += 1;
    const one = state.view === "tags";
    for (const half of halves) half.hidden = one && half.dataset.drop !== "tags";
    shade.hidden = false;
  });
  window.addEventListener("dragover", (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    for (const half of halves) half.classList.toggle("over", half.contains(event.target));
  });
  window.addEventListener("dragleave", (event) => {
    if (!holdsFile(event)) return;
    inside -= 1;
    if (inside <= 0) leave();
  });
  window.addEventListener("drop", (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    const half = event.target.closest?.("[data-drop]");
    leave();
    const file = event.dataTransfer.files[0];
    if (file) take(file, half?.dataset.drop ?? (state.view === "tags" ? "tags" : "search"));
  });

  function leave() {
    inside = 0;
    shade.hidden = true;
  }
}

function holdsFile(event) {
  return event.dataTransfer?.types.includes("Files");
}
