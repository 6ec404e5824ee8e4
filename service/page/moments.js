// Which moments of a recording a question means.

const AS_GOOD = 0.5; // of the best moment's strength

/** Whether what was found is all of a sound, so that there is no moment to be marked. */
export function whole({ start, end, seconds }) {
  return start === undefined || end - start >= seconds - 0.05;
}

/** A hit's best moment and those at least half as good, in the order of time: [{start, end}, …]. */
export function momentsOf(hit) {
  if (whole(hit)) return [];
  const good = (each) => each.start === hit.start || strength(each) >= AS_GOOD * strength(hit);
  return (hit.moments ?? [hit]).filter(good).sort((one, other) => one.start - other.start);
}

/** What "more like" a hit means: its id, with its best moment where that is not all of it. */
export function exampleOf(hit) {
  return whole(hit) ? hit.id : `${hit.id}@${hit.start}`;
}

/** An example as the server takes it: "id@12.5" → {id, at}. */
export function readExample(text) {
  const [id, at] = text.split("@");
  return at === undefined ? { id } : { id, at: Number(at) };
}

function strength({ relevance, score }) {
  return typeof relevance === "number" ? relevance : score;
}
