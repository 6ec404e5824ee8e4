// Tens of thousands of points, pixel by pixel into one image: fast without a graphics card, too.

const MARKED = 242; // the alpha above which a point is one that was found, and larger

/** A painter for a canvas. */
export function painter(canvas) {
  const brush = canvas.getContext("2d");
  let points = null;
  let inks = null; // four bytes of a point as one number, in the order of a pixel's
  let marked = [];
  let image = null;
  return {
    /** Takes points, and four bytes of colour for each: red, green, blue, alpha. */
    ink(all, bytes) {
      points = all;
      inks = new Uint32Array(bytes.buffer);
      marked = [...inks.keys()].filter((at) => bytes[4 * at + 3] > MARKED);
    },
    /** Draws all; `pixels`: of the canvas in one CSS pixel. */
    paint(camera, pixels) {
      const { width, height } = canvas;
      if (image?.width !== width || image?.height !== height) image = new ImageData(width, height);
      const target = new Uint32Array(image.data.buffer);
      target.fill(0);
      const size = sizeAt(camera, points.length) * pixels;
      const [across, along] = camera.scale.map((scale) => scale * pixels);
      const put = (at, dot) => {
        const x = Math.round((points.x[at] - camera.x) * across + width / 2);
        const y = Math.round((points.y[at] - camera.y) * along + height / 2);
        if (x < dot.reach || y < dot.reach || x >= width - dot.reach || y >= height - dot.reach) return;
        for (const offset of dot.offsets) target[y * width + x + offset] = inks[at];
      };
      const plain = disc(size / 2, width);
      for (let at = 0; at < points.length; at += 1) put(at, plain);
      const large = disc((size * 1.5) / 2, width);
      for (const at of marked) put(at, large);
      brush.putImageData(image, 0, 0);
    },
  };
}

/** Width of a point on the screen: it grows as one comes nearer. */
function sizeAt(camera, points) {
  const crowded = Math.min(4, Math.max(0, Math.log10(points / 500)));
  return Math.min(14, (7 - 1.2 * crowded) * Math.sqrt(Math.max(1, Math.log2(camera.zoom * 2))));
}

/** The pixels of a disc, as steps from its middle in an image of this width. */
function disc(radius, width) {
  const reach = Math.ceil(radius);
  const offsets = [];
  for (let y = -reach; y <= reach; y += 1) {
    for (let x = -reach; x <= reach; x += 1) {
      if (x * x + y * y <= radius * radius + 0.5) offsets.push(y * width + x);
    }
  }
  return { reach, offsets };
}
