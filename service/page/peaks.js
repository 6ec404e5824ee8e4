// How loud a sound is along its length: from the server for clips, decoded here for files.
import { ask } from "./api.js";

const POINTS = 400;
const AT_ONCE = 4;
const KEPT = 600;
const LONGEST_FILE = 600; // seconds decoded in the browser
const kept = new Map();
const waiting = [];
let running = 0;

/**
 * Loudness of a clip as numbers 0 … 1, evenly spaced; null where the server draws none. A few are
 * asked for at once, the newest first: what scrolled into sight last is what is looked at.
 */
export function peaksOf(clip, signal) {
  if (clip.peaks) return Promise.resolve(clip.peaks);
  if (!clip.waveform) return Promise.resolve(null);
  const address = `${clip.waveform}${clip.waveform.includes("?") ? "&" : "?"}points=${POINTS}`;
  if (kept.has(address)) return Promise.resolve(kept.get(address));
  return new Promise((resolve, reject) => {
    waiting.push({ address, signal, resolve, reject });
    next();
  });
}

/** Loudness of a file that is not in the library; null where this browser cannot decode it. */
export async function peaksOfFile(file) {
  const context = new OfflineAudioContext(1, 1, 16000);
  try {
    const sound = await context.decodeAudioData(await file.arrayBuffer());
    if (sound.duration > LONGEST_FILE) return { seconds: sound.duration, peaks: null };
    return { seconds: sound.duration, peaks: loudest(sound.getChannelData(0), POINTS) };
  } catch {
    return { seconds: null, peaks: null };
  }
}

async function next() {
  if (running >= AT_ONCE || !waiting.length) return;
  const { address, signal, resolve, reject } = waiting.pop();
  if (signal?.aborted) {
    resolve(null);
    next();
    return;
  }
  running += 1;
  try {
    const peaks = heights(await ask(address, { signal, patient: false }));
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
    kept.set(address, peaks);
    resolve(peaks);
  } catch (error) {
    reject(error);
  } finally {
    running -= 1;
    next();
  }
}

/** Quiet recordings are drawn as high as loud ones, unless they are silent. */
function heights({ peaks }) {
  const top = Math.max(0.02, ...peaks);
  return peaks.map((peak) => peak / top);
}

function loudest(samples, points) {
  const step = Math.max(1, samples.length / points);
  const peaks = [];
  for (let from = 0; from < samples.length; from += step) {
    let peak = 0;
    const end = Math.min(samples.length, Math.floor(from + step));
    for (let i = Math.floor(from); i < end; i += 1) peak = Math.max(peak, Math.abs(samples[i]));
    peaks.push(peak);
  }
  return heights({ peaks });
}
