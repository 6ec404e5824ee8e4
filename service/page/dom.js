// Elements made in one expression, and words for screen readers.

/**
 * An element. `props`: attributes; `text` its text; `onclick` and so on listeners. What is
 * undefined, null or false is left out, of the children too.
 */
export function el(name, props = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "text") node.textContent = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child || child === 0));
  return node;
}

/** The element with this id; it is in index.html. */
export function byId(id) {
  return document.getElementById(id);
}

/** Has a screen reader say something, once the present speech is over. */
export function say(words) {
  byId("said").textContent = words;
}

/** Whether key presses belong to this element, not to the page. */
export function takesKeys(node) {
  return Boolean(node?.closest?.("input:not([type=range], [type=checkbox]), textarea, select, [contenteditable]"));
}

/** The colour that a custom property has here and now, for canvases. */
export function colour(name, node = document.documentElement) {
  return getComputedStyle(node).getPropertyValue(name).trim();
}
