// Tens of thousands of points in one call, on the graphics card; plain squares where there is none.

const VERTEX = `
attribute vec2 place;
attribute vec4 ink;
uniform vec2 middle;
uniform vec2 scale;
uniform float size;
varying vec4 shade;
void main() {
  gl_Position = vec4((place - middle) * scale * vec2(1.0, -1.0), 0.0, 1.0);
  gl_PointSize = size * (ink.a > 0.95 ? 1.5 : 1.0);
  shade = ink;
}`;
const FRAGMENT = `
precision mediump float;
varying vec4 shade;
void main() {
  float inside = 1.0 - smoothstep(0.38, 0.5, length(gl_PointCoord - 0.5));
  gl_FragColor = vec4(shade.rgb, 1.0) * shade.a * inside;
}`;

/** A painter for a canvas: {ink(points, bytes), paint(camera, pixels)}. */
export function painter(canvas) {
  const gl = canvas.getContext("webgl", { antialias: false, premultipliedAlpha: true });
  return gl ? onCard(canvas, gl) : onCanvas(canvas);
}

/** Width of a point on the screen: it grows as one comes nearer. */
function sizeAt(camera, points) {
  const crowded = Math.min(4, Math.max(0, Math.log10(points / 500)));
  return Math.min(14, (7 - 1.2 * crowded) * Math.sqrt(Math.max(1, Math.log2(camera.zoom * 2))));
}

function onCard(canvas, gl) {
  const program = linked(gl);
  const place = attribute(gl, program, "place", 2, gl.FLOAT);
  const ink = attribute(gl, program, "ink", 4, gl.UNSIGNED_BYTE);
  const uniform = (name) => gl.getUniformLocation(program, name);
  const at = { middle: uniform("middle"), scale: uniform("scale"), size: uniform("size") };
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  let count = 0;
  return {
    /** Takes positions, and four bytes of colour for each. */
    ink(points, bytes) {
      count = points.length;
      const both = new Float32Array(2 * count);
      for (let i = 0; i < count; i += 1) both.set([points.x[i], points.y[i]], 2 * i);
      place(both);
      ink(bytes);
    },
    /** Draws all; `pixels`: device pixels of one CSS pixel. */
    paint(camera, pixels) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      const [across, along] = camera.scale;
      gl.uniform2f(at.middle, camera.x, camera.y);
      gl.uniform2f(at.scale, (2 * across) / camera.width, (2 * along) / camera.height);
      gl.uniform1f(at.size, sizeAt(camera, count) * pixels);
      gl.drawArrays(gl.POINTS, 0, count);
    },
  };
}

function onCanvas(canvas) {
  const brush = canvas.getContext("2d");
  let points = null;
  let inks = null;
  return {
    ink(all, bytes) {
      points = all;
      inks = Array.from({ length: all.length }, (_, i) => `rgb(${bytes.slice(4 * i, 4 * i + 3).join()} / ${bytes[4 * i + 3] / 255})`);
    },
    paint(camera, pixels) {
      brush.clearRect(0, 0, canvas.width, canvas.height);
      const size = sizeAt(camera, points.length) * pixels;
      points.within(...camera.box, (at) => {
        const [left, top] = camera.toScreen(points.x[at], points.y[at]);
        brush.fillStyle = inks[at];
        brush.fillRect(left * pixels - size / 2, top * pixels - size / 2, size, size);
      });
    },
  };
}

function linked(gl) {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  return program;
}

function attribute(gl, program, name, size, type) {
  const buffer = gl.createBuffer();
  const where = gl.getAttribLocation(program, name);
  return (values) => {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(where);
    gl.vertexAttribPointer(where, size, type, type === gl.UNSIGNED_BYTE, 0, 0);
  };
}
