// Seconds, scores and paths as people read them.

/** 4.68 → "0:04.7", 75 → "1:15": tenths only where a minute is not reached or when asked for. */
export function clock(seconds, tenths = seconds < 60) {
  const whole = tenths ? Math.round(seconds * 10) / 10 : Math.round(seconds);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = (whole % 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** A point in time: "0:20", without needless tenths. */
export function point(time) {
  return clock(time, time < 60 && time % 1 !== 0);
}

/** A moment: "0:10–0:20", without needless tenths. */
export function span(start, end) {
  const tenths = end < 60 && (start % 1 !== 0 || end % 1 !== 0);
  return `${clock(start, tenths)}–${clock(end, tenths)}`;
}

/** 93784 seconds → "26 hours". */
export function length(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} seconds`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  return `${Math.round(seconds / 3600).toLocaleString("en")} hours`;
}

/** "a/b/c.wav" → ["a/b/", "c.wav"]. */
export function split(path) {
  const cut = path.lastIndexOf("/") + 1;
  return [path.slice(0, cut), path.slice(cut)];
}

/** A cosine with its sign: "0.31", "−0.08". */
export function cosine(score) {
  return score.toFixed(2).replace("-", "−");
}
