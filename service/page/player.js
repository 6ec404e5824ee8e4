// The one sound that plays. Everything that shows its progress listens here.
import { fetched, media } from "./api.js";
import { isAbort, Problem } from "./problem.js";
import { showProblem } from "./notice.js";
import { split } from "./times.js";

const audio = new Audio();
audio.preload = "auto";

/** Events: `clip` (another one), `state` (playing or not), `time` (each frame while playing). */
export const playing = new EventTarget();

/** What is to be heard: {id, path, seconds, audio, start?, end?}, null at first. */
export let clip = null;
/** The address of the sound that is loaded; null while another one is fetched. */
let loaded = null;
/** Whether the marked moment is played over and over. */
export let repeats = false;
let loading = null;
let frame = 0;

/** Plays a clip from `at` seconds, by default from its moment. */
export async function play(next, at = next.start ?? 0) {
  loading?.abort();
  const ours = (loading = new AbortController());
  clip = next;
  playing.dispatchEvent(new Event("clip"));
  try {
    if (loaded !== next.audio || audio.error) {
      loaded = null;
      audio.pause();
      audio.src = await media(next.audio, ours.signal);
      await ready(ours.signal).catch((error) => reason(next.audio, error, ours.signal));
      loaded = next.audio;
    }
    if (ours.signal.aborted) return;
    audio.currentTime = at;
    await audio.play();
  } catch (error) {
    if (isAbort(error)) return;
    showProblem(audio.error && !(error instanceof Problem) ? unplayable(next) : error);
  }
}

/** Pauses or goes on; a clip that is not the present one starts at its moment. */
export function toggle(other = clip) {
  if (!other) return;
  if (other.audio !== loaded) play(other);
  else if (audio.paused) audio.play().catch(showProblem);
  else audio.pause();
}

/** Goes to a time in seconds; playing or not stays as it is. */
export function seek(time) {
  if (!clip || clip.audio !== loaded) return;
  audio.currentTime = Math.min(Math.max(0, time), Math.max(0, clip.seconds - 0.01));
  tick();
}

export function stop() {
  audio.pause();
}

/** Switches the repeating of the moment on or off. */
export function repeat(on) {
  repeats = on;
  playing.dispatchEvent(new Event("state"));
}

/** 0 … 1. */
export function volume(share) {
  audio.volume = share;
}

export function now() {
  return audio.currentTime;
}

export function isPlaying() {
  return !audio.paused && !audio.ended;
}

/** Whether this clip is the one that is loaded. */
export function isCurrent(other) {
  return Boolean(clip && other && clip.audio === other.audio);
}

function ready(signal) {
  return new Promise((resolve, reject) => {
    audio.addEventListener("loadedmetadata", resolve, { once: true, signal });
    audio.addEventListener("error", () => reject(audio.error), { once: true, signal });
    signal.addEventListener("abort", () => reject(new DOMException("replaced", "AbortError")));
  });
}

/** Why the server did not give what the player asked for by itself; else the player's own error. */
async function reason(address, error, signal) {
  if (!isAbort(error) && !address.startsWith("blob:")) {
    const sound = await fetched(address, { signal, patient: false });
    await sound.body?.cancel();
  }
  throw error;
}

function unplayable({ path }) {
  return new Error(`This browser cannot play ${split(path)[1]}. Download it to hear it elsewhere.`);
}

function tick() {
  const end = clip?.end;
  if (repeats && end !== undefined && audio.currentTime >= end) audio.currentTime = clip.start;
  playing.dispatchEvent(new Event("time"));
}

function frames() {
  tick();
  cancelAnimationFrame(frame); // a sound that starts anew at its end has one under way
  frame = isPlaying() ? requestAnimationFrame(frames) : 0;
}

audio.addEventListener("play", () => {
  playing.dispatchEvent(new Event("state"));
  frames();
});
audio.addEventListener("timeupdate", tick);
for (const name of ["pause", "ended"]) {
  audio.addEventListener(name, () => playing.dispatchEvent(new Event("state")));
}
audio.addEventListener("ended", () => {
  if (repeats && clip?.start !== undefined) play(clip);
});
