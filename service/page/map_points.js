// Every sound's place on the map, and which lie near a spot: a grid instead of a look at all.

const PER_CELL = 3;
const HUES = 12;

/** Points in a square around 0 of half-width 1, hashed into cells. */
export class Points {
  /** `answer`: {ids, x, y, names}, as many of each. */
  constructor({ ids, x, y, names }) {
    this.ids = ids;
    this.names = names;
    this.length = ids.length;
    this.number = new Map(ids.map((id, at) => [id, at]));
    this.place(x, y);
    this.group();
    this.hash();
  }

  /** The nearest point in the ellipse of two radii around a spot; −1 where there is none. */
  nearest(x, y, across, along) {
    let best = -1;
    let least = 1;
    this.within(x - across, y - along, x + across, y + along, (at) => {
      const distance = ((this.x[at] - x) / across) ** 2 + ((this.y[at] - y) / along) ** 2;
      if (distance <= least) [best, least] = [at, distance];
    });
    return best;
  }

  /** The nearest point in a direction (dx, dy of −1, 0, 1), up to 45° beside it; −1 at the edge. */
  neighbour(from, dx, dy) {
    for (let radius = 2 / this.side; radius < 4; radius *= 2) {
      let best = -1;
      let least = Infinity;
      const [x, y] = [this.x[from], this.y[from]];
      this.within(x - radius, y - radius, x + radius, y + radius, (at) => {
        const along = (this.x[at] - x) * dx + (this.y[at] - y) * dy;
        const aside = Math.abs((this.x[at] - x) * dy) + Math.abs((this.y[at] - y) * dx);
        if (at === from || along <= 0 || aside > along) return;
        const distance = along + aside;
        if (distance < least) [best, least] = [at, distance];
      });
      if (best >= 0 && least <= radius) return best;
    }
    return -1;
  }

  /** Calls `visit(at)` for every point in a box; false from it ends the walk. */
  within(left, top, right, bottom, visit) {
    const [fromColumn, toColumn] = [this.column(left), this.column(right)];
    const [fromRow, toRow] = [this.column(top), this.column(bottom)];
    for (let row = fromRow; row <= toRow; row += 1) {
      for (let column = fromColumn; column <= toColumn; column += 1) {
        const cell = row * this.side + column;
        for (let i = this.starts[cell]; i < this.starts[cell + 1]; i += 1) {
          const at = this.order[i];
          const inside = this.x[at] >= left && this.x[at] <= right && this.y[at] >= top && this.y[at] <= bottom;
          if (inside && visit(at) === false) return;
        }
      }
    }
  }

  place(x, y) {
    const [left, right] = extent(x);
    const [top, bottom] = extent(y);
    const [across, along] = [Math.max(right - left, 1e-9) / 2, Math.max(bottom - top, 1e-9) / 2];
    this.x = Float32Array.from(x, (value) => (value - (left + right) / 2) / across);
    this.y = Float32Array.from(y, (value) => ((top + bottom) / 2 - value) / along);
  }

  /** Groups are the first folders; each has a hue, a size and a middle where its name is written. */
  group() {
    const members = new Map();
    this.names.forEach((name, at) => {
      const folder = name.includes("/") ? name.slice(0, name.indexOf("/")) : "";
      if (!members.has(folder)) members.set(folder, []);
      members.get(folder).push(at);
    });
    this.hue = new Uint8Array(this.length);
    this.groups = [...members].map(([name, list], number) => {
      for (const at of list) this.hue[at] = number % HUES;
      return { name, size: list.length, hue: number % HUES, x: median(list, this.x), y: median(list, this.y) };
    });
    this.groups.sort((one, other) => other.size - one.size);
  }

  hash() {
    this.side = Math.max(1, Math.ceil(Math.sqrt(this.length / PER_CELL)));
    const cells = Int32Array.from(this.x, (x, at) => this.column(this.y[at]) * this.side + this.column(x));
    this.starts = new Int32Array(this.side * this.side + 1);
    for (const cell of cells) this.starts[cell + 1] += 1;
    for (let i = 1; i < this.starts.length; i += 1) this.starts[i] += this.starts[i - 1];
    const free = this.starts.slice();
    this.order = new Int32Array(this.length);
    cells.forEach((cell, at) => {
      this.order[free[cell]] = at;
      free[cell] += 1;
    });
  }

  column(value) {
    return Math.min(this.side - 1, Math.max(0, Math.floor(((value + 1) / 2) * this.side)));
  }
}

function extent(values) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return [least, most];
}

function median(list, values) {
  const sorted = list.map((at) => values[at]).sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)];
}
