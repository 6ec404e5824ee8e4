// The one way to the server: keys, problems, and patience while it is busy.
import { askForKey, hasKey, keptKey, keyHeaders } from "./key.js";
import { Problem } from "./problem.js";

const TRIES = 30;
const LONGEST_PAUSE = 5000;
const KEPT_BLOBS = 24;

/** Events `waiting` (detail: Problem), while a 503 is waited out, and `answered`. */
export const traffic = new EventTarget();
const blobs = new Map();

/**
 * A Response that is ok. `body`: an object (sent as JSON) or FormData. A 401, or a key
 * that may not do this, asks for another, 429
 * and 503 are tried again as the server says. Throws Problem, or AbortError by `signal`.
 */
export async function fetched(path, { method, body, signal, patient = true } = {}) {
  const json = body !== undefined && !(body instanceof FormData);
  for (let attempt = 1; ; attempt += 1) {
    const key = keptKey();
    const headers = { ...keyHeaders(), ...(json ? { "Content-Type": "application/json" } : {}) };
    const options = {
      method: method ?? (body === undefined ? "GET" : "POST"),
      headers,
      body: json ? JSON.stringify(body) : body,
      signal,
    };
    const response = await fetch(path, options).catch((error) => {
      throw error.name === "AbortError" ? error : Problem.unreachable();
    });
    if (response.ok) {
      traffic.dispatchEvent(new Event("answered"));
      return response;
    }
    const problem = await Problem.of(response);
    if (response.status === 401 || problem.type === "/problems/missing-scope") {
      const another = keptKey() !== key; // given while this request was under way
      if (another || (await askForKey(key ? problem.detail : ""))) continue;
    }
    const busy = response.status === 503 || response.status === 429;
    if (!busy || !patient || attempt === TRIES) throw problem;
    traffic.dispatchEvent(new CustomEvent("waiting", { detail: problem }));
    await pause(response.headers.get("Retry-After"), attempt, signal);
  }
}

/** The JSON of an answer; otherwise as `fetched`. */
export async function ask(path, options) {
  return (await fetched(path, options)).json();
}

/**
 * An address for <audio> and <img>: the path itself, or, where a key is needed, which these cannot
 * send, a blob of what lies there.
 */
export async function media(path, signal) {
  if (!hasKey() || path.startsWith("blob:")) return path;
  if (!blobs.has(path)) {
    const blob = await (await fetched(path, { signal })).blob();
    blobs.set(path, URL.createObjectURL(blob));
    if (blobs.size > KEPT_BLOBS) {
      const [oldest, address] = blobs.entries().next().value;
      blobs.delete(oldest);
      URL.revokeObjectURL(address);
    }
  }
  return blobs.get(path);
}

/** A query string of what is neither undefined nor empty, with its question mark. */
export function parameters(values) {
  const kept = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return kept.length ? `?${new URLSearchParams(kept)}` : "";
}

function pause(retryAfter, attempt, signal) {
  const asked = Number(retryAfter) * 1000;
  const milliseconds = asked > 0 ? Math.min(asked, LONGEST_PAUSE) : Math.min(250 * 2 ** attempt, LONGEST_PAUSE);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("replaced", "AbortError"));
    });
  });
}
