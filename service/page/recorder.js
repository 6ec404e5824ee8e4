// A short recording from the microphone, as a File.
import { showProblem } from "./notice.js";

const LONGEST = 30; // seconds
let running = null;
let starting = false;

/** Whether this browser, at this address, can record: only over https or on this machine. */
export function canRecord() {
  return Boolean(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);
}

/** Starts a recording, or ends the one that runs. `tell(seconds)` is called while it runs, with
 * null at its end; `take(file)` gets the File. */
export async function record(tell, take) {
  if (running) {
    running.stop();
    return;
  }
  if (starting) return; // the browser is asking whether it may
  starting = true;
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  } catch {
    showProblem(new Error("The microphone may not be used. Allow it in the browser, or drop a file instead."));
    return;
  } finally {
    starting = false;
  }
  const parts = [];
  const began = performance.now();
  const recorder = (running = new MediaRecorder(stream));
  const clock = setInterval(() => {
    const seconds = (performance.now() - began) / 1000;
    tell(seconds);
    if (seconds >= LONGEST && recorder.state !== "inactive") recorder.stop();
  }, 100);
  recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
  recorder.addEventListener("stop", () => {
    clearInterval(clock);
    for (const track of stream.getTracks()) track.stop();
    const kind = recorder.mimeType;
    running = null;
    tell(null);
    take(new File(parts, kind.includes("mp4") ? "recording.m4a" : "recording.webm", { type: kind, lastModified: Date.now() }));
  });
  recorder.start();
  tell(0);
}
