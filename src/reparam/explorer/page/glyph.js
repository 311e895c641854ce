// How one datum looks: pixels, a line over its elements, or a bar for each column. Values are in model units.
import { groups, ink } from "./colours.js";
import { short } from "./dom.js";
import { ticks } from "./figure.js";

const small = document.createElement("canvas");

// A datum as a small canvas of its own pixels.
export function pixels(data, x, from = 0, canvas = small) {
  const { height, width, channels, last } = data, image = new ImageData(width, height), size = height * width;
  const grey = data.pixelMax || (data.low >= 0 && data.high <= 1) ? [0, 1] : [data.low, data.high];
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) {
      const k = channels === 1 ? i : last ? i * channels + c : c * size + i;
      image.data[4 * i + c] = Math.round(255 * (x[from + k] - grey[0]) / (grey[1] - grey[0] || 1));
    }
    image.data[4 * i + 3] = 255;
  }
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

export function aspect(data) { return data.kind === "image" ? data.width / data.height : data.kind === "line" ? 1.6 : 1; }

// Draw a datum into a box of an ink; ``under`` is another one behind it, for lines.
export function glyph(on, data, x, from, [left, top, width, height], under) {
  if (data.kind === "image") { on.pixels(pixels(data, x, from), left, top, width, height); return; }
  on.rect(left, top, width, height, { fill: ink("well") });
  if (data.kind === "line") {
    if (under) line(on, data, under, 0, [left, top, width, height], ink("soft"), 1);
    line(on, data, x, from, [left, top, width, height], ink("accent"), 1.5);
    return;
  }
  const { columns } = data, each = height / columns.length, gap = each > 4 ? 1 : 0;
  columns.forEach((c, j) => {
    if (Number.isNaN(x[from + j])) return;
    if (c.classes) { // one field of as many as there are classes
      const field = width / c.classes, k = Math.min(c.classes - 1, Math.max(0, Math.round(x[from + j])));
      on.rect(left + k * field, top + j * each + gap / 2, field, each - gap, { fill: groups()[j % groups().length] });
      return;
    }
    const share = (x[from + j] * (data.pixelMax || 1) - c.low) / (c.high - c.low || 1);
    const wide = Math.min(1, Math.max(0.01, share)) * width;
    on.rect(left, top + j * each + gap / 2, wide, each - gap, { fill: groups()[j % groups().length] });
  });
}

// A large line with its scale, and a second one behind it.
export function plot(on, data, x, under, width, height) {
  const [low, high] = data.span, soft = ink("soft"), box = [36, 6, width - 38, height - 26];
  on.rect(...box, { fill: ink("well") });
  for (const [v, said] of ticks(low, high, 4)) {
    const y = box[1] + box[3] - 3 - (box[3] - 6) * (v - low) / (high - low || 1);
    on.path([[36, y], [width - 2, y]], { stroke: ink("line") });
    on.text(short(v * (data.pixelMax || 1)), 30, y + 4, { fill: soft, size: 11, anchor: "end" });
  }
  on.text("1", 39, height - 6, { fill: soft, size: 11 });
  on.text(String(data.size), width - 4, height - 6, { fill: soft, size: 11, anchor: "end" });
  line(on, data, under, 0, box, groups()[1], 1.2);
  line(on, data, x, 0, box, ink("accent"), 2);
}

function line(on, data, x, from, [left, top, width, height], stroke, wide) {
  const n = data.size, [low, high] = data.span, pad = 3;
  const points = Array.from({ length: n }, (_, j) => [
    left + pad + (width - 2 * pad) * (n > 1 ? j / (n - 1) : 0.5),
    top + height - pad - (height - 2 * pad) * Math.min(1.05, (x[from + j] - low) / (high - low || 1))]);
  on.path(points, { stroke, line: wide });
}
