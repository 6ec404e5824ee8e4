// Light, dark or the system's choice. Loaded before the page is painted, so that none flashes.
"use strict";

const THEMES = ["auto", "light", "dark"];

/** The theme kept by this browser: auto, light or dark. */
function keptTheme() {
  const kept = localStorage.getItem("theme");
  return THEMES.includes(kept) ? kept : "auto";
}

/** Shows a theme and keeps it; canvases hear of it by the event `themechange`. */
function showTheme(theme) {
  localStorage.setItem("theme", theme);
  document.documentElement.dataset.theme = theme;
  window.dispatchEvent(new Event("themechange"));
}

/** The theme that a press of the switch goes to. */
function nextTheme() {
  return THEMES[(THEMES.indexOf(keptTheme()) + 1) % THEMES.length];
}

document.documentElement.dataset.theme = keptTheme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  window.dispatchEvent(new Event("themechange"));
});
