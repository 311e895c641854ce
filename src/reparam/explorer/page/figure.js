// One drawing, two inks: on a canvas, and as SVG. Figures are drawn by functions of an ink.
import { number } from "./dom.js";

export class CanvasInk {
  constructor(canvas, width, height, ratio = window.devicePixelRatio || 1) {
    Object.assign(this, { canvas, width, height, ratio, ctx: canvas.getContext("2d") });
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    this.ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.ctx.clearRect(0, 0, width, height);
  }
  rect(x, y, w, h, { fill, stroke, line = 1 }) {
    if (fill) { this.ctx.fillStyle = fill; this.ctx.fillRect(x, y, w, h); }
    if (stroke) { this.ctx.strokeStyle = stroke; this.ctx.lineWidth = line; this.ctx.strokeRect(x, y, w, h); }
  }
  path(points, { fill, stroke, line = 1, close = false, dash = [] }) {
    const { ctx } = this;
    ctx.beginPath();
    points.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
    if (close) ctx.closePath();
    if (fill) { ctx.fillStyle = fill; ctx.fill(); }
    if (stroke) {
      ctx.strokeStyle = stroke; ctx.lineWidth = line; ctx.lineJoin = "round"; ctx.lineCap = "round"; ctx.setLineDash(dash);
      ctx.stroke(); ctx.setLineDash([]);
    }
  }
  circle(x, y, r, { fill, stroke, line = 1, alpha = 1 }) {
    const { ctx } = this;
    ctx.globalAlpha = alpha;
    ctx.beginPath(); ctx.arc(x, y, r, 0, 2 * Math.PI);
    if (fill) { ctx.fillStyle = fill; ctx.fill(); }
    if (stroke) { ctx.strokeStyle = stroke; ctx.lineWidth = line; ctx.stroke(); }
    ctx.globalAlpha = 1;
  }
  text(text, x, y, { fill, size = 12, anchor = "start", weight = 400, halo }) {
    const { ctx } = this;
    ctx.font = `${weight} ${size}px system-ui, sans-serif`;
    ctx.textAlign = anchor === "middle" ? "center" : anchor; ctx.textBaseline = "alphabetic";
    if (halo) { ctx.strokeStyle = halo; ctx.lineWidth = 5; ctx.lineJoin = "round"; ctx.strokeText(text, x, y); }
    ctx.fillStyle = fill; ctx.fillText(text, x, y);
  }
  pixels(image, x, y, w, h) { // a small canvas, enlarged without blur
    this.ctx.imageSmoothingEnabled = false;
    this.ctx.drawImage(image, x, y, w, h);
  }
  blob() { return new Promise((done) => this.canvas.toBlob(done, "image/png")); }
}

const SVG = "http://www.w3.org/2000/svg";
// Made in a document of its own: on the page, pictures inside would be loads, which its policy forbids.
const apart = document.implementation.createDocument(SVG, "svg");

function svg(tag, attributes, ...children) {
  const element = apart.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export class SvgInk {
  constructor(width, height, title) {
    this.root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
    if (title) this.root.append(svg("title", {}, title));
    Object.assign(this, { width, height });
  }
  put(tag, attributes, ...inside) { this.root.append(svg(tag, attributes, ...inside)); }
  rect(x, y, w, h, { fill = "none", stroke = "none", line = 1 }) {
    this.put("rect", { x: fix(x), y: fix(y), width: fix(w), height: fix(h), fill, stroke, "stroke-width": line });
  }
  path(points, { fill = "none", stroke = "none", line = 1, close = false, dash = [] }) {
    const d = points.map(([x, y], i) => `${i ? "L" : "M"}${fix(x)} ${fix(y)}`).join("") + (close ? "Z" : "");
    this.put("path", { d, fill, stroke, "stroke-width": line, "stroke-linejoin": "round", "stroke-linecap": "round",
      ...(dash.length ? { "stroke-dasharray": dash.join(" ") } : {}) });
  }
  circle(x, y, r, { fill = "none", stroke = "none", line = 1, alpha = 1 }) {
    this.put("circle", { cx: fix(x), cy: fix(y), r: fix(r), fill, stroke, "stroke-width": line, opacity: alpha });
  }
  text(text, x, y, { fill, size = 12, anchor = "start", weight = 400, halo }) {
    this.put("text", { x: fix(x), y: fix(y), fill, ...(halo ? { stroke: halo, "stroke-width": 5, "stroke-linejoin": "round", "paint-order": "stroke" } : {}), "font-size": size, "font-weight": weight, "text-anchor": anchor,
      "font-family": "system-ui, sans-serif" }, text);
  }
  pixels(image, x, y, w, h) { // kept as pixels, crisp at any size
    this.put("image", { href: image.toDataURL("image/png"), x: fix(x), y: fix(y), width: fix(w), height: fix(h),
      preserveAspectRatio: "none", "image-rendering": "pixelated" });
  }
  dots(points, colour, r) { // thousands of dots of one colour as one path of round points
    const d = points.map(([x, y]) => `M${fix(x)} ${fix(y)}h0`).join("");
    this.put("path", { d, stroke: colour, "stroke-width": 2 * r, "stroke-linecap": "round", fill: "none" });
  }
  markup() { return new XMLSerializer().serializeToString(this.root); }
}

const fix = (v) => +v.toFixed(2);

// The places of an axis that a person would choose, in steps of 1, 2 or 5 times a power of ten, and their words.
export function ticks(low, high, most = 5) {
  const span = high - low || 1, rough = span / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => span / s <= most);
  const out = [], digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) out.push([+v.toPrecision(12), number(v, digits)]);
  return out;
}
