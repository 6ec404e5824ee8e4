// The hits as files: CSV for tables, M3U for players.
import { byId, el } from "./dom.js";
import { momentsOf } from "./moments.js";
import { found, hits } from "./results.js";

const COLUMNS = ["path", "seconds", "start", "end", "score", "relevance", "moments", "id", "audio"];
const WRITTEN = {
  audio: (hit) => new URL(hit.audio, location.href).href,
  moments: (hit) => momentsOf(hit).map(({ start, end }) => `${start}-${end}`).join(" "),
};

/** Builds the menu. */
export function startExport() {
  const menu = byId("export");
  const item = (text, hint, make) =>
    el("button", { type: "button", onclick: () => { menu.open = false; make(); } }, el("strong", { text }), el("small", { text: hint }));
  menu.querySelector(".items").append(
    item("CSV", "a table: paths, moments, scores", () => save("sounds.csv", "text/csv", csv(hits()))),
    item("Playlist of links", "M3U: plays from this server", () => save("sounds.m3u8", "audio/x-mpegurl", m3u(hits(), (hit) => new URL(hit.audio, location.href).href))),
    item("Playlist of files", "M3U: to put into the library’s folder", () => save("sounds-files.m3u8", "audio/x-mpegurl", m3u(hits(), (hit) => (hit.path.startsWith("#") ? `./${hit.path}` : hit.path)))),
  );
  const much = el("p", { class: "soft" });
  menu.querySelector(".items").prepend(much);
  menu.addEventListener("toggle", () => {
    const [here, all] = [hits().length, found()];
    much.textContent = here < all ? `The ${here} listed so far, of ${all.toLocaleString("en")}: more come with scrolling.` : `All ${here}.`;
  });
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary").focus();
    event.stopPropagation();
  });
}

/** RFC 4180, with a first line of names. Metadata get a column each. */
export function csv(found) {
  const extra = [...new Set(found.flatMap((hit) => Object.keys(hit.metadata ?? {})))];
  const rows = found.map((hit) => [
    ...COLUMNS.map((name) => (WRITTEN[name] ? WRITTEN[name](hit) : hit[name])),
    ...extra.map((name) => hit.metadata?.[name]),
  ]);
  return [[...COLUMNS, ...extra], ...rows].map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
}

/** Extended M3U; VLC starts each at its moment. `address(hit)` says where a sound is. */
export function m3u(found, address) {
  const lines = found.flatMap((hit) => [
    `#EXTINF:${Math.round(hit.seconds)},${hit.path.split("/").pop()}`,
    ...(hit.start ? [`#EXTVLCOPT:start-time=${hit.start}`] : []),
    address(hit),
  ]);
  return ["#EXTM3U", ...lines].join("\n") + "\n";
}

function quoted(value) {
  if (value === undefined || value === null) return "";
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function save(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}
