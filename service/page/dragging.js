// A sound dragged out of the page: a file for folders and programs that take one, else its address.
import { hasKey } from "./key.js";
import { split } from "./times.js";

/** Makes `node` the handle of a clip. What needs a key nobody else can fetch: it stays. */
export function draggable(node, clip) {
  node.draggable = true;
  node.addEventListener("dragstart", (event) => {
    if (hasKey()) {
      event.preventDefault();
      return;
    }
    const { href } = new URL(clip.audio, location.href);
    const name = split(clip.path)[1].replaceAll(":", "_");
    event.dataTransfer.effectAllowed = "copy";
    event.dataTransfer.setData("DownloadURL", `application/octet-stream:${name}:${href}`);
    event.dataTransfer.setData("text/uri-list", href);
    event.dataTransfer.setData("text/plain", clip.path);
  });
}
