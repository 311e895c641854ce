// What the person looks at, who wants to know when it changes, and its form in the address.
import { blended } from "./between.js";

export class State {
  constructor(meta, arrays) {
    this.meta = meta;
    this.arrays = arrays;
    this.listeners = [];
    const order = meta.dims.map((_, j) => j).sort((a, b) => this.weight(b) - this.weight(a));
    this.order = order; // dimensions, the most telling first
    const flat = !meta.pca;
    Object.assign(this, {
      basis: flat ? "dims" : "pca", across: order[0], up: order[Math.min(1, order.length - 1)],
      colour: meta.labels ? "label" : "log_p", z: null, at: null, pins: [], view: null,
      tab: "manifold", ellipses: false, selection: null, context: null, theme: null, temperature: 1, column: 0,
    });
  }
  weight(j) { const d = this.meta.dims[j]; return d.kl === null ? d.sd : d.kl; }
  on(names, listener) { this.listeners.push([names.split(" "), listener]); }
  tell(...names) {
    for (const [wanted, listener] of this.listeners) if (wanted.some((n) => names.includes(n))) listener();
  }
  set(changes, ...names) { Object.assign(this, changes); this.tell(...Object.keys(changes), ...names); }

  // The two coordinates of a latent (or of a row of z) on the map, and the latent at two coordinates near ``z``. Of a
  // UMAP both lie between the nearest data, and are no inverse of each other: ``at`` is where the person has walked to.
  project(z, from = 0) {
    if (this.basis === "umap") return Array.from(blended(from ? z.subarray(from, from + this.meta.dim) : z, this.arrays.z, this.meta.dim, this.arrays.umap, 2));
    if (this.basis === "dims") return [z[from + this.across], this.across === this.up ? 0 : z[from + this.up]];
    const { centre, axes } = this.meta.pca, out = [0, 0];
    for (let j = 0; j < centre.length; j++) {
      out[0] += (z[from + j] - centre[j]) * axes[0][j];
      out[1] += (z[from + j] - centre[j]) * axes[1][j];
    }
    return out;
  }
  place() { return this.at || this.project(this.z); }
  lift([a, b], z = this.z) {
    if (this.basis === "umap") return blended([a, b], this.arrays.umap, 2, this.arrays.z, this.meta.dim);
    const out = Float64Array.from(z);
    if (this.basis === "dims") { out[this.across] = a; if (this.across !== this.up) out[this.up] = b; return out; }
    const [x, y] = this.project(z), { axes } = this.meta.pca;
    for (let j = 0; j < out.length; j++) out[j] += (a - x) * axes[0][j] + (b - y) * axes[1][j];
    return out;
  }

  address() {
    const cut = (v) => +v.toPrecision(5), p = new URLSearchParams();
    p.set("map", this.basis !== "dims" ? this.basis : `${this.across + 1},${this.up + 1}`);
    p.set("colour", this.colour);
    p.set("z", Array.from(this.z, cut).join(","));
    if (this.pins.length) p.set("pins", this.pins.map((q) => (q.row !== null ? q.row : "z" + Array.from(q.z, cut).join(":"))).join(","));
    if (this.view) p.set("view", this.view.map(cut).join(","));
    p.set("tab", this.tab);
    if (this.ellipses) p.set("ellipses", "1");
    if (this.temperature !== 1) p.set("temperature", this.temperature);
    if (this.theme) p.set("theme", this.theme);
    if (this.context) p.set("context", Array.from(this.context, cut).join(","));
    return "#" + p.toString().replace(/%2C/g, ",").replace(/%3A/g, ":");
  }
  read(hash, colours, pinRow) { // what cannot be read is left as it is
    const p = new URLSearchParams(hash.slice(1)), D = this.meta.dim;
    const numbers = (text, n, mark = ",") => {
      const v = (text || "").split(mark).map(Number);
      return v.length === n && v.every(Number.isFinite) ? v : null;
    };
    const map = p.get("map"), axes = numbers(map, 2);
    if ((map === "pca" && this.meta.pca) || (map === "umap" && this.arrays.umap)) this.basis = map;
    if (axes && axes.every((j) => Number.isInteger(j) && j >= 1 && j <= D)) {
      [this.basis, this.across, this.up] = ["dims", axes[0] - 1, axes[1] - 1];
    }
    if (colours.includes(p.get("colour"))) this.colour = p.get("colour");
    const z = numbers(p.get("z"), D), view = numbers(p.get("view"), 3);
    if (z) this.z = Float64Array.from(z);
    this.at = null;
    if (view && view[2] > 0) this.view = view;
    if (p.get("tab")) this.tab = p.get("tab");
    this.ellipses = p.get("ellipses") === "1";
    const heat = numbers(p.get("temperature"), 1);
    if (heat && p.get("temperature") && heat[0] >= 0 && heat[0] <= 1.5) [this.temperature] = heat;
    if (["light", "dark"].includes(p.get("theme"))) this.theme = p.get("theme");
    const c = this.context && numbers(p.get("context"), this.context.length);
    if (c) this.context = Float32Array.from(c);
    this.pins = (p.get("pins") || "").split(",").filter(Boolean).map((text) => {
      if (text[0] !== "z") return pinRow(Number(text));
      const own = numbers(text.slice(1), D, ":");
      return own && { row: null, z: Float64Array.from(own) };
    }).filter(Boolean);
  }
}
