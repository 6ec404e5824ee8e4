// Mouse, fingers and wheel on the map, as: pan, zoom, point at, pick.

const STILL = 5; // pixels a press may move and still pick
const WHEEL = 0.0016;

/**
 * Listens on a node. `does`: {pan(dx, dy), zoom(factor, x, y), hover(x, y), leave(), pick(x, y)},
 * all in pixels of the node.
 */
export function listen(node, does) {
  const down = new Map();
  let travelled = 0;
  const spot = (event) => {
    const box = node.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    node.setPointerCapture(event.pointerId);
    down.set(event.pointerId, spot(event));
    if (down.size === 1) travelled = 0;
  });
  node.addEventListener("pointermove", (event) => {
    const here = spot(event);
    const before = down.get(event.pointerId);
    if (!before) {
      does.hover(...here);
      return;
    }
    down.set(event.pointerId, here);
    const [right, below] = [here[0] - before[0], here[1] - before[1]];
    travelled += Math.hypot(right, below);
    if (down.size === 1 && travelled > STILL) does.pan(right, below);
    if (down.size === 2) pinch(event.pointerId, before, here);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    node.addEventListener(name, (event) => {
      const picks = name === "pointerup" && down.size === 1 && travelled <= STILL && down.has(event.pointerId);
      down.delete(event.pointerId);
      if (picks) does.pick(...spot(event));
    });
  }
  node.addEventListener("pointerleave", () => does.leave());
  node.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    does.zoom(Math.exp(-event.deltaY * lines * WHEEL), ...spot(event));
  }, { passive: false });
  node.addEventListener("dblclick", (event) => does.zoom(2, ...spot(event)));

  function pinch(moved, before, here) {
    const [, other] = [...down].find(([id]) => id !== moved);
    const middle = [(here[0] + other[0]) / 2, (here[1] + other[1]) / 2];
    const past = Math.hypot(before[0] - other[0], before[1] - other[1]);
    travelled = STILL + 1;
    does.pan((here[0] - before[0]) / 2, (here[1] - before[1]) / 2);
    if (past > 0) does.zoom(Math.hypot(here[0] - other[0], here[1] - other[1]) / past, ...middle);
  }
}
