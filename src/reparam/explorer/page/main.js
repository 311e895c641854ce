// The page: reads what is inside it (or asks the server that it came from), and puts the parts together.
import { blended } from "./between.js";
import { isDark } from "./colours.js";
import { choice, button, count, fill, h, later, measured, save, say, short } from "./dom.js";
import { gaussian, likelihood, posterior, prior } from "./heads.js";
import { health } from "./health.js";
import { here } from "./here.js";
import { LatentMap } from "./map.js";
import { Random } from "./maths.js";
import { Local } from "./model.js";
import { run } from "./net.js";
import { own } from "./own.js";
import { inside } from "./payload.js";
import { Remote, ask } from "./remote.js";
import { picture } from "./show.js";
import { State } from "./state.js";
import { arithmetic, between, interpolation, manifold, samples, traversals } from "./walks.js";
import { className, inUnits, plainCell, word } from "./units.js";
import { words } from "./words.js";

const COLOURED = 12; // groups that have a colour of their own

function commonest(c, values) { // of the classes of a column those that are coloured, in their order, and which of them a row has
  const times = new Array(c.classes).fill(0);
  for (const v of values) if (v >= 0) times[Math.round(v)]++;
  const kept = [...times.keys()].sort((a, b) => times[b] - times[a]).slice(0, COLOURED).sort((a, b) => a - b);
  return { names: kept.map((k) => className(c, k)), values: values.map((v) => { const k = kept.indexOf(Math.round(v)); return k < 0 ? 255 : k; }),
    rest: c.classes > COLOURED ? "others or missing" : "missing" };
}

class App {
  constructor({ meta, arrays }, model) {
    Object.assign(this, { meta, arrays, model, state: new State(meta, arrays), start: [], ellipses: null, own: null, draws: meta.model ? 500 : 1000 });
    this.state.z = this.latent(0);
    this.colours = this.colourings();
    if (arrays.context) this.state.context = this.usual(arrays.context.slice(0, arrays.context.length / meta.rows));
    this.wide = Math.max(200, Math.min(420, document.documentElement.clientWidth - 76));
    this.room = Math.max(240, Math.min(1230, document.documentElement.clientWidth - 90));
  }

  colourings() { // what the points can be coloured by
    const { meta, arrays } = this, out = [], ranged = (key, name, values, unit, words = short) => {
      const sorted = Float64Array.from(values).filter(Number.isFinite).sort(), at = (q) => sorted[Math.floor(q * (sorted.length - 1))];
      return { key, name, values, low: at(0.02), high: at(0.98), unit, words };
    };
    if (meta.labels) out.push(meta.labels.kind === "names" ? { key: "label", name: "label", values: arrays.label, names: meta.labels.names } : ranged("label", "label", arrays.label));
    out.push(ranged("log_p", "log p(x)", arrays.log_p, `log p(x), nats, by ${meta.scores.k} draws a row`), ranged("reconstruction", "reconstruction", arrays.reconstruction, "E log p(x|z), nats"));
    if (arrays.kl) out.push(ranged("kl", "KL", arrays.kl, "KL(q(z|x) || p(z)), nats"));
    if (arrays.x && meta.data.kind === "table") {
      meta.data.columns.forEach((c, j) => {
        const values = Float64Array.from({ length: meta.rows }, (_, i) => arrays.x[i * meta.data.size + j]);
        if (c.classes) out.push({ key: `column ${j}`, name: c.name, ...commonest(c, values) });
        else out.push(ranged(`column ${j}`, c.name, values.map((v) => inUnits(c, v)), c.name, (v) => word(c, v)));
      });
    }
    if (meta.data.kind === "line" && meta.data.size <= 2000) { // asked for when one of them is chosen
      for (let j = 0; j < meta.data.size; j++) out.push({ key: `column ${j}`, name: this.element(j), fetch: async () => ranged("", "", await this.model.column(j), this.element(j)) });
    }
    let at = 0;
    for (const c of meta.contexts) {
      const wide = arrays.context.length / meta.rows, from = at;
      const read = (i) => arrays.context.subarray(i * wide + from, i * wide + from + c.width);
      if (c.categories && c.categories.length <= 12) out.push({ key: `context ${c.name}`, name: c.name, names: c.categories, values: Uint8Array.from({ length: meta.rows }, (_, i) => read(i).indexOf(1)) });
      else if (!c.categories && c.width === 1) out.push(ranged(`context ${c.name}`, c.name, Float32Array.from({ length: meta.rows }, (_, i) => read(i)[0] * c.spread[0] + c.loc[0]), c.name));
      at += c.width;
    }
    return out;
  }

  element(j) { return this.meta.data.columns ? this.meta.data.columns[j] : `element ${j + 1}`; }
  async fetched(colour) { // with its values, which a column of a long row has not from the beginning
    const { key, name } = colour;
    if (!colour.values) Object.assign(colour, await colour.fetch(), { key, name });
  }

  // -- z and rows
  go(z, at = null) { this.state.set({ z: Float64Array.from(z), at }); } // ``at`` is where on the map, if it was chosen there
  latent(row) { return Float64Array.from(this.arrays.z.subarray(row * this.meta.dim, (row + 1) * this.meta.dim)); }
  distance(z, row) { return Math.hypot(...this.latent(row).map((v, j) => v - z[j])); }
  nearest(z, k) {
    const { dim, rows } = this.meta, all = this.arrays.z, best = [];
    let limit = Infinity;
    for (let i = 0; i < rows; i++) {
      let d = 0;
      for (let j = 0, at = i * dim; j < dim && d < limit; j++) d += (all[at + j] - z[j]) ** 2;
      if (d >= limit) continue;
      best.push([d, i]);
      best.sort((a, b) => a[0] - b[0]);
      if (best.length > k) best.pop();
      if (best.length === k) limit = best[k - 1][0];
    }
    return best.map((b) => b[1]);
  }
  label(row) {
    const { labels } = this.meta;
    if (!labels) return "";
    return labels.kind === "names" ? labels.names[this.arrays.label[row]] || "another label" : short(this.arrays.label[row]);
  }
  title(row) { return `row ${this.arrays.row[row]}${this.meta.labels ? `, ${Number.isNaN(Number(this.label(row))) ? "" : "label "}${this.label(row)}` : ""}`; }
  rings() { return (this.meta.model || this.meta).prior.plain; } // only N(0, I) has them

  // -- pins
  letter(i) { return i < 26 ? String.fromCharCode(65 + i) : String(i + 1); }
  pinName(pin) { return pin.row === null ? "a point" : this.title(pin.row); }
  rowPin(row) { return Number.isInteger(row) && row >= 0 && row < this.meta.rows ? { row, z: this.latent(row) } : null; }
  pinRow(row) {
    if (this.state.pins.some((p) => p.row === row)) return;
    this.pin(this.rowPin(row));
    say(`Pinned ${this.title(row)} as ${this.letter(this.state.pins.length - 1)}`);
  }
  pin(pin) { this.state.set({ pins: [...this.state.pins, pin] }); }
  pinStrip() {
    const strip = h("div", { class: "row pins" }), empty = h("p", { class: "empty" }, "Nothing pinned yet: click a dot on the map, or pin the point that you are at.");
    const draw = async () => {
      const { pins } = this.state, mine = (this.strip = {});
      empty.hidden = pins.length > 0;
      const x = pins.length ? await this.model.typical(Float32Array.from(pins.flatMap((p) => Array.from(p.z))), pins.length, this.state.context) : null;
      const rows = pins.map((p) => p.row).filter((r) => r !== null), data = rows.length ? await this.model.rows(rows) : null;
      if (this.strip !== mine) return;
      let k = 0;
      fill(strip, pins.map((p, i) => {
        const own = p.row === null ? null : data.subarray(k * this.meta.data.size, ++k * this.meta.data.size);
        const wide = this.meta.data.kind === "line" ? 96 : 52;
        return h("div", { class: "pin" }, h("strong", {}, this.letter(i)),
          h("button", { type: "button", class: "tile", "aria-label": `Go to pin ${this.letter(i)}, ${this.pinName(p)}`, onclick: () => this.go(p.z) },
            own ? picture(h("canvas", { "aria-hidden": "true" }), this.meta.data, own, 0, wide) : null,
            picture(h("canvas", { "aria-hidden": "true" }), this.meta.data, x, i * this.meta.data.size, wide)),
          h("small", {}, this.pinName(p), button("×", () => this.state.set({ pins: pins.filter((q) => q !== p) }), { class: "quiet", "aria-label": `Remove pin ${this.letter(i)}` })));
      }));
    };
    this.state.on("pins context theme", draw);
    this.start.push(draw);
    return h("section", { class: "card", "aria-labelledby": "pins-title" }, h("div", { class: "head" }, h("h2", { id: "pins-title" }, "Pins"),
      h("small", {}, "each datum, and what the decoder makes of its place")), empty, strip);
  }

  async tip(row, element) { // a datum beside its reconstruction
    const { data } = this.meta, [canvas, text] = element.children, c = this.contextOf(row);
    const [x, y] = await Promise.all([this.model.rows([row]), this.model.typical(this.latent(row), 1, c)]);
    const both = new Float32Array(data.size * 2);
    both.set(x); both.set(y, data.size);
    const wide = data.kind === "line" ? 130 : 64;
    if (!this.pair) this.pair = [document.createElement("canvas"), document.createElement("canvas")];
    this.pair.forEach((p, i) => picture(p, data, both, i * data.size, wide));
    const [a, b] = this.pair, gap = Math.round(a.width * 0.06);
    canvas.width = 2 * a.width + gap; canvas.height = a.height;
    canvas.style.width = `${2 * wide + 4}px`;
    canvas.getContext("2d").drawImage(a, 0, 0);
    canvas.getContext("2d").drawImage(b, a.width + gap, 0);
    text.textContent = `${this.title(row)}: log p(x) ${measured([this.arrays.log_p[row], this.arrays.log_p_error[row]])}`;
  }
  contextOf(row) {
    if (!this.arrays.context) return null;
    const wide = this.arrays.context.length / this.meta.rows;
    return this.arrays.context.slice(row * wide, (row + 1) * wide);
  }

  usual(context) { // with the size of a usual row, of counts that have one
    let at = 0;
    for (const c of this.meta.contexts) { if (c.usual) context[at] = c.usual; at += c.width; }
    return context;
  }
  sized(x) { // the context of a row of one's own, whose size is its total
    let at = 0;
    const context = this.state.context && this.state.context.slice();
    for (const c of this.meta.contexts) { if (c.total) context[at] = x.reduce((s, v) => s + v, 0) / c.total; at += c.width; }
    return context;
  }

  contexts() { // what a conditional model is told
    if (!this.meta.contexts.length) return null;
    let at = 0;
    const fields = this.meta.contexts.flatMap((c) => {
      const from = at;
      at += c.width;
      const put = (values) => { const all = this.state.context.slice(); all.set(values, from); this.state.set({ context: all }); };
      if (c.categories) return [choice(c.name, c.categories.map((name, i) => [i, name]), this.state.context.subarray(from, at).indexOf(1), (v) => put(c.categories.map((_, i) => +(i === +v))))];
      return Array.from({ length: c.width }, (_, k) => {
        const input = h("input", { type: "number", step: "any", value: +(this.state.context[from + k] * c.spread[k] + c.loc[k]).toPrecision(6),
          onchange: () => { const all = this.state.context.slice(); all[from + k] = (+input.value - c.loc[k]) / c.spread[k]; this.state.set({ context: all }); } });
        return h("label", { class: "choice" }, h("span", {}, c.width > 1 ? `${c.name} ${k + 1}` : c.name), input);
      });
    });
    return h("div", {}, h("h3", {}, "Given"), h("div", { class: "row" }, fields));
  }

  async drawEllipses() {
    const list = this.own ? [this.own] : [];
    if (this.state.ellipses && this.meta.dim) {
      const { n, xy } = this.map, seen = [];
      const order = Array.from({ length: Math.min(n, 80) }, (_, k) => Math.floor(k * n / Math.min(n, 80)));
      order.forEach((i) => { const [x, y] = this.map.toScreen([xy[2 * i], xy[2 * i + 1]]); if (x > 0 && y > 0 && x < this.map.width && y < this.map.height) seen.push(i); });
      const x = await this.model.rows(seen), wide = this.arrays.context ? this.arrays.context.length / this.meta.rows : 0, c = wide ? new Float32Array(seen.length * wide) : null;
      seen.forEach((i, k) => wide && c.set(this.contextOf(i), k * wide));
      if (seen.length) list.unshift(...await this.model.encode(x, seen.length, c));
    }
    this.ellipses = list;
    this.map.over();
  }

  saveRows(rows) {
    const { meta, arrays } = this, { data } = meta, quote = (t) => (/[",\n]/.test(t) ? `"${t.replace(/"/g, '""')}"` : t);
    const names = data.kind === "table" ? data.columns.map((c) => c.name) : data.columns || Array.from({ length: data.size }, (_, j) => `x${j}`);
    const head = ["row", ...(meta.labels ? ["label"] : []), "log_p", "log_p_error", "reconstruction", ...(arrays.umap ? ["umap1", "umap2"] : []), ...meta.dims.map((_, j) => `z${j + 1}`), ...(arrays.x ? names : [])];
    const lines = rows.map((i) => [arrays.row[i], ...(meta.labels ? [this.label(i)] : []), arrays.log_p[i], arrays.log_p_error[i], arrays.reconstruction[i],
      ...(arrays.umap ? arrays.umap.subarray(2 * i, 2 * i + 2) : []),
      ...this.latent(i), ...(arrays.x ? Array.from(arrays.x.subarray(i * data.size, (i + 1) * data.size), (v, j) => (data.kind === "table" ? plainCell(data.columns[j], v) : v)) : [])].map((v) => quote(String(v))).join(","));
    save("selection.csv", [head.map(quote).join(","), ...lines].join("\n") + "\n", "text/csv");
  }

  // -- the parts below: one is open at a time, and only that one is computed
  tabs() {
    const parts = [["manifold", "Manifold", manifold], ["traversals", "Traversals", traversals], ["interpolation", "Between pins", interpolation],
      ["arithmetic", "Arithmetic", arithmetic], ["samples", "Samples", samples], ["own", "Your own datum", own],
      ["health", "How good it is", health], ["words", "The words", words]].map(([key, name, make]) => ({ key, name, ...make(this) }));
    const { state } = this;
    if (!parts.some((p) => p.key === state.tab)) state.tab = "manifold";
    const heads = parts.map((p) => h("button", { type: "button", role: "tab", id: `tab-${p.key}`, "aria-controls": `panel-${p.key}`, onclick: () => state.set({ tab: p.key }) }, p.name));
    const bodies = parts.map((p) => h("div", { role: "tabpanel", id: `panel-${p.key}`, "aria-labelledby": `tab-${p.key}`, tabindex: "0" }, p.element));
    const open = () => parts.forEach((p, i) => {
      const now = p.key === state.tab;
      heads[i].setAttribute("aria-selected", String(now));
      heads[i].tabIndex = now ? 0 : -1;
      bodies[i].hidden = !now;
      if (now) p.draw();
      if (now) list.scrollLeft = heads[i].offsetLeft - list.offsetLeft - (list.clientWidth - heads[i].offsetWidth) / 2; // in sight on a phone
    });
    const list = h("div", { role: "tablist", "aria-label": "Ways to walk", class: "tabs", onkeydown: (e) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      if (!step) return;
      const at = (parts.findIndex((p) => p.key === state.tab) + step + parts.length) % parts.length;
      state.set({ tab: parts[at].key });
      heads[at].focus();
    } }, heads);
    state.on("tab", open);
    for (const p of parts) {
      const soon = later(120, () => { if (state.tab === p.key) p.draw(); });
      if (p.when) state.on(p.when, soon);
    }
    this.start.push(open);
    return h("section", { class: "card", "aria-label": "Ways to walk" }, list, bodies);
  }

  build() {
    const { state, meta } = this;
    state.read(location.hash, this.colours.map((c) => c.key), (row) => this.rowPin(row));
    const theme = () => { if (state.theme) document.documentElement.dataset.theme = state.theme; };
    theme();
    state.on("theme", theme);
    this.map = new LatentMap(this);
    const facts = `${meta.rows.toLocaleString("en")}${meta.rows < meta.total ? ` of ${meta.total.toLocaleString("en")}` : ""} rows in ${meta.dim} latent dimension${meta.dim === 1 ? "" : "s"}`
      + ` · log p(x) ${measured(meta.scores.log_p)} by ${count(meta.scores.k, "draw")} a row`;
    fill(document.getElementById("top"), h("div", {}, h("p", { class: "over" }, "reparam explorer"), h("h1", {}, meta.name), h("p", { class: "lede" }, facts)),
      h("div", { class: "row" }, button("Copy the address of this view", async (e) => {
        try { await navigator.clipboard.writeText(location.href); e.target.textContent = "Copied"; } catch { e.target.textContent = "It is in the address bar"; }
      }), button("Light or dark", () => state.set({ theme: isDark() ? "light" : "dark" }))));
    fill(document.getElementById("main"), h("div", { class: "top" },
      meta.data.kind === "table" ? [h("div", { class: "side" }, this.map.element, this.pinStrip()), here(this)]
        : [this.map.element, h("div", { class: "side" }, here(this), this.pinStrip())]), this.tabs());
    const write = later(150, () => history.replaceState(null, "", state.address()));
    state.on("z pins colour basis across up view tab ellipses theme context temperature", write);
    const soon = later(60, () => this.drawEllipses());
    state.on("ellipses view basis across up z", () => { if (state.ellipses || this.own) soon(); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => state.tell("theme"));
    addEventListener("hashchange", () => { state.read(location.hash, this.colours.map((c) => c.key), (row) => this.rowPin(row));
      const { view } = state; // which other axes put aside
      state.tell("basis", "z", "pins", "colour", "tab", "ellipses", "theme", "temperature");
      state.set({ view });
    });
    this.map.drawNow();
    this.start.forEach((begin) => begin());
    if (state.ellipses) soon();
    state.tell("pins");
    document.documentElement.dataset.ready = "yes";
  }
}

async function main() {
  const text = document.getElementById("payload").textContent;
  const found = text ? await inside(text) : await ask("points");
  const app = new App(found, found.meta.model ? new Local(found.meta, found.arrays) : new Remote(found.meta, found.arrays));
  app.build();
  app.library = { blended, run, likelihood, posterior, prior, gaussian, Random, between };
  window.reparam = app; // for the console: await reparam.model.mean([0, 0], 1)
}

main().catch((error) => {
  document.getElementById("main").replaceChildren(h("p", { class: "error", role: "alert" }, `The page cannot begin: ${error.message}`));
  throw error;
});
