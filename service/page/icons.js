// Pictures on buttons: strokes in a square of 20, in the colour of the text around them.

const PATHS = {
  play: "M6 3.500v13l11-6.500z!",
  pause: "M5.500 4h3v12h-3zM11.500 4h3v12h-3z!",
  more: "M10 4v12M4 10h12",
  less: "M4 10h12",
  open: "M5 7.500l5 5 5-5",
  close: "M5 5l10 10M15 5L5 15",
  previous: "M15 4v12L6 10zM5 4v12",
  next: "M5 4v12l9-6zM15 4v12",
  repeat: "M4 9V8a3 3 0 0 1 3-3h9M13 2l3 3-3 3M16 11v1a3 3 0 0 1-3 3H4M7 18l-3-3 3-3",
  follow: "M3 10h3l2-5 3 10 2-5h4",
  volume: "M3 8v4h3l4 3V5L6 8zM13 7.500a4 4 0 0 1 0 5M15 5a7 7 0 0 1 0 10",
  record: "M10 2.500a2.500 2.500 0 0 1 2.500 2.500v4a2.500 2.500 0 0 1-5 0V5A2.500 2.500 0 0 1 10 2.500zM5 9a5 5 0 0 0 10 0M10 14v3.500",
  stop: "M5 5h10v10H5z!",
  file: "M10 13V3M6 7l4-4 4 4M3 13v4h14v-4",
  help: "M7.500 7.500A2.500 2.500 0 1 1 10 10.500V12M10 15v.2M10 2a8 8 0 1 1 0 16 8 8 0 0 1 0-16z",
  light: "M10 6.500a3.500 3.500 0 1 1 0 7 3.500 3.500 0 0 1 0-7zM10 1.500v2M10 16.500v2M1.500 10h2M16.500 10h2M4 4l1.400 1.400M14.600 14.600L16 16M16 4l-1.400 1.400M5.400 14.600L4 16",
  dark: "M16.500 12A7 7 0 0 1 8 3.500a7 7 0 1 0 8.500 8.500z",
  auto: "M10 2.500a7.500 7.500 0 1 1 0 15 7.500 7.500 0 0 1 0-15zM10 2.500v15",
  fit: "M3 7V3h4M13 3h4v4M17 13v4h-4M7 17H3v-4",
};

/** An svg element; screen readers pass over it, the button around it has the name. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  const filled = PATHS[name].endsWith("!");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", filled ? "drawn filled" : "drawn");
  path.setAttribute("d", PATHS[name].replace("!", ""));
  svg.append(path);
  return svg;
}
