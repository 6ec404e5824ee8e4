// Where one looks at the map from: a middle and a scale.

const CLOSEST = 4000; // times the scale at which all is seen
const STRETCH = 1.8;

/** Between map units and pixels of a view of width × height. */
export class Camera {
  constructor() {
    [this.x, this.y, this.zoom] = [0, 0, 1];
    [this.width, this.height] = [1, 1];
  }

  /** Pixels of one map unit, across and along: the map fills a view up to STRETCH times as wide. */
  get scale() {
    const side = Math.min(this.width, this.height);
    return [this.width, this.height].map((length) => this.zoom * 0.45 * Math.min(length, STRETCH * side));
  }

  toScreen(x, y) {
    const [across, along] = this.scale;
    return [(x - this.x) * across + this.width / 2, (y - this.y) * along + this.height / 2];
  }

  toMap(left, top) {
    const [across, along] = this.scale;
    return [(left - this.width / 2) / across + this.x, (top - this.height / 2) / along + this.y];
  }

  /** Moves by pixels. */
  pan(right, down) {
    const [across, along] = this.scale;
    [this.x, this.y] = [held(this.x - right / across), held(this.y - down / along)];
  }

  /** Zooms by a factor around a pixel, which stays where it is. */
  zoomAt(factor, left = this.width / 2, top = this.height / 2) {
    const [x, y] = this.toMap(left, top);
    this.zoom = Math.min(CLOSEST, Math.max(0.5, this.zoom * factor));
    const [across, along] = this.scale;
    [this.x, this.y] = [held(x - (left - this.width / 2) / across), held(y - (top - this.height / 2) / along)];
  }

  /** Sees all. */
  fit() {
    [this.x, this.y, this.zoom] = [0, 0, 1];
  }

  /** Brings a point into view, with some room around it. */
  reveal(x, y) {
    const [left, top] = this.toScreen(x, y);
    const room = 60;
    if (left < room || top < room || left > this.width - room || top > this.height - room) [this.x, this.y] = [x, y];
  }

  /** [left, top, right, bottom] of what is seen, in map units. */
  get box() {
    return [...this.toMap(0, 0), ...this.toMap(this.width, this.height)];
  }
}

function held(value) {
  return Math.min(1.2, Math.max(-1.2, value));
}
