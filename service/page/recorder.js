// A short recording from the microphone, as a File.
import { showProblem } from "./notice.js";

const LONGEST = 30; // seconds
let running = null;

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
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  } catch {
    showProblem(new Error("The microphone may not be used. Allow it in the browser, or drop a file instead."));
    return;
  }
  const parts = [];
  const began = performance.now();
  running = new MediaRecorder(stream);
  const clock = setInterval(() => {
    const seconds = (performance.now() - began) / 1000;
    tell(seconds);
    if (seconds >= LONGEST) running?.stop();
  }, 100);
  running.addEventListener("dataavailable", ({ data }) => parts.push(data));
  running.addEventListener("stop", () => {
    clearInterval(clock);
    for (const track of stream.getTracks()) track.stop();
    const kind = running.mimeType;
    running = null;
    tell(null);
    take(new File(parts, kind.includes("mp4") ? "recording.m4a" : "recording.webm", { type: kind, lastModified: Date.now() }));
  });
  running.start();
  tell(0);
}
