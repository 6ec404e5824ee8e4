// The API key: asked for when the server wants one, kept for this tab only.
import { el } from "./dom.js";

let asking = null;

/** Headers that carry the key; none without one. */
export function keyHeaders() {
  const key = keptKey();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** The key that is kept; null without one. */
export function keptKey() {
  return sessionStorage.getItem("key");
}

/** Whether a key is known; then players and pictures cannot fetch for themselves. */
export function hasKey() {
  return keptKey() !== null;
}

/** Asks the person for a key; true once one was given. Callers at the same time share a dialog. */
export function askForKey(refused) {
  asking ??= shown(refused).finally(() => {
    asking = null;
  });
  return asking;
}

function shown(refused) {
  return new Promise((resolve) => {
    // What no header can hold would fail as if the server did not answer.
    const letters = { pattern: "\\s*[!-~][ -~]*\\s*", title: "A key is made of plain letters, digits and signs." };
    const field = el("input", { type: "password", id: "key", required: true, autocomplete: "current-password", ...letters });
    const form = el(
      "form",
      { method: "dialog" },
      el("h2", { text: "This server wants a key", id: "key-title" }),
      el("p", { text: refused || "Ask whoever runs it. The key is kept until this tab is closed." }),
      el("label", { for: "key", text: "API key" }),
      field,
      el(
        "p",
        { class: "buttons" },
        el("button", { type: "submit", class: "main", text: "Go on" }),
        el("button", { type: "button", text: "Not now", onclick: () => dialog.close() }),
      ),
    );
    const dialog = el("dialog", { class: "dialog", "aria-labelledby": "key-title" }, form);
    form.addEventListener("submit", () => sessionStorage.setItem("key", field.value.trim()));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(form.dataset.sent === "yes");
    });
    form.addEventListener("submit", () => (form.dataset.sent = "yes"));
    document.body.append(dialog);
    dialog.showModal();
    field.focus();
  });
}
