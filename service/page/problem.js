// What went wrong, in the server's words (RFC 9457) or in ours where it said nothing.

/** A refusal. status 0: no answer came at all. */
export class Problem extends Error {
  constructor(status, type, title, detail) {
    super(detail || title);
    this.status = status;
    this.type = type;
    this.title = title;
    this.detail = detail;
  }

  /** Of a response that is not ok. */
  static async of(response) {
    const body = await response.json().catch(() => ({}));
    const title = body.title ?? `The server answered ${response.status}`;
    return new Problem(response.status, body.type ?? "", title, body.detail ?? "");
  }

  /** Of a fetch that failed without a response. */
  static unreachable() {
    return new Problem(0, "", "The server does not answer", "Is it running? Try again in a moment.");
  }

  /** Whether this server lacks the route, which is no fault of the request. */
  get routeMissing() {
    return this.type === "/problems/not-found" || this.status === 405;
  }
}

/** Whether an error only says that a newer request took the place of this one. */
export function isAbort(error) {
  return error?.name === "AbortError";
}
