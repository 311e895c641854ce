// The map: every datum at its posterior mean, on a canvas whose pixels are written directly, so that 50,000 stay smooth.
import { groups, hex, ink, rest, rgb, scale } from "./colours.js";
import { button, choice, count, dimension, explain, h, measured, save, say } from "./dom.js";
import { CanvasInk, SvgInk, ticks } from "./figure.js";

export class LatentMap {
  constructor(app) {
    Object.assign(this, { app, state: app.state, meta: app.meta, z: app.arrays.z, n: app.meta.rows });
    this.xy = new Float32Array(2 * this.n);
    this.colours = new Uint8Array(3 * this.n);
    this.mode = "walk";
    this.frames = [];
    this.build();
    this.state.on("basis across up", () => { Object.assign(this.state, { view: null, at: null }); this.place(); this.draw(); });
    this.state.on("colour selection theme", () => { this.paint(); this.draw(); });
    this.state.on("z pins ellipses", () => this.over());
    this.state.on("view", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.box);
    this.place();
    this.paint();
  }

  build() {
    const { state, meta } = this;
    this.base = h("canvas", { "aria-hidden": "true" });
    this.top = h("canvas", {
      id: "map", tabindex: "0", role: "application", "aria-describedby": "map-keys",
      "aria-label": `Map of ${count(this.n, "datum").replace("datums", "data")} in the latent space`,
    });
    this.tip = h("div", { class: "tip", "aria-hidden": "true" }, h("canvas", {}), h("p", {}));
    this.tip.hidden = true;
    this.box = h("div", { class: "map" }, this.base, this.top, this.tip);
    const axes = meta.dims.map((_, j) => [j, dimension(j)]);
    const basis = [...(meta.pca ? [["pca", "components"]] : []), ["dims", "dimensions"], ...(this.app.arrays.umap ? [["umap", "UMAP"]] : [])];
    this.pick = [
      choice("Across", axes, state.across, (v) => state.set({ across: +v })),
      choice("Up", axes, state.up, (v) => state.set({ up: +v })),
    ];
    const modes = [["walk", "Walk"], ["move", "Move"], ["lasso", "Lasso"]].map(([key, name]) =>
      button(name, () => this.choose(key), { "aria-pressed": String(key === this.mode), "data-mode": key }));
    this.modes = modes;
    this.ellipses = button("Ellipses", () => state.set({ ellipses: !state.ellipses }), { "aria-pressed": String(state.ellipses) });
    state.on("ellipses", () => this.ellipses.setAttribute("aria-pressed", state.ellipses));
    this.legend = h("div", { class: "legend" });
    this.picked = h("div", { class: "row picked" });
    const shown = () => this.pick.forEach((p) => { p.hidden = state.basis !== "dims"; });
    const rounds = () => { this.ellipses.disabled = state.basis === "umap"; };
    state.on("basis", () => { shown(); rounds(); });
    this.element = h("section", { class: "card", "aria-labelledby": "map-title" },
      h("div", { class: "head" }, h("h2", { id: "map-title" }, "Map"),
        h("div", { class: "row tools", role: "group", "aria-label": "What dragging does" }, modes)),
      h("div", { class: "row" },
        basis.length > 1 ? choice("Axes", basis, state.basis, (v) => state.set({ basis: v })) : null,
        this.pick, choice("Colour", this.app.colours.map((c) => [c.key, c.name]), state.colour, (v) => state.set({ colour: v })),
        this.ellipses),
      this.box, this.legend,
      h("div", { class: "row" },
        button("Fit", () => this.fit()), button("Closer", () => this.zoom(1.4), { "aria-label": "Zoom in" }),
        button("Farther", () => this.zoom(1 / 1.4), { "aria-label": "Zoom out" }), h("span", { class: "gap" }),
        button("PNG", () => this.savePng(), { class: "quiet", "aria-label": "Save the map as PNG" }),
        button("SVG", () => this.saveSvg(), { class: "quiet", "aria-label": "Save the map as SVG" })),
      this.picked,
      h("p", { id: "map-keys", class: "note" }, "Drag or use the arrow keys to walk, + and \u2212 to zoom, Enter to pin the nearest datum."),
      explain("What is this?", "Each dot is one datum at the mean of its posterior q(z|x): the place in the latent space where "
        + "the encoder believes its cause to lie. Near dots are alike to the model. The rings are one and two standard "
        + "deviations of the prior p(z), where the model expects its data to come from.",
      this.app.arrays.umap ? "A UMAP keeps neighbours together and bends everything else: distances between groups, their sizes and the axes mean "
        + "nothing. No formula leads back from it: a place between the dots is decoded at a mean of the codes of the nearest." : null,
      "A posterior ellipse shows how sure the encoder is: it holds about 86% of q(z|x) in these two directions."));
    shown();
    rounds();
    this.listen();
  }

  choose(mode) {
    this.mode = mode;
    this.modes.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.mode === mode)));
    this.top.dataset.mode = mode;
  }

  place() { // the points' coordinates on the map
    const { z, meta, xy } = this;
    if (this.state.basis === "umap") { xy.set(this.app.arrays.umap); return; }
    for (let i = 0; i < this.n; i++) {
      const [a, b] = this.state.project(z, i * meta.dim);
      xy[2 * i] = a; xy[2 * i + 1] = b;
    }
  }

  paint() { // the points' colours, and the legend
    const colour = this.app.colours.find((c) => c.key === this.state.colour), { colours, state } = this;
    if (!colour.values) { this.app.fetched(colour).then(() => { if (state.colour === colour.key) state.tell("colour"); }); return; }
    const chosen = state.selection && new Set(state.selection), pale = rgb(rest()), palette = groups().map(rgb), quiet = [], loud = [];
    let holes = 0;
    for (let i = 0; i < this.n; i++) {
      const v = colour.values[i], c = colour.names ? palette[v] : Number.isNaN(v) ? null : scale((v - colour.low) / (colour.high - colour.low || 1));
      const seen = c && !(chosen && !chosen.has(i));
      if (!c) holes++;
      (seen ? loud : quiet).push(i);
      colours.set(seen ? c : pale, 3 * i);
    }
    this.order = quiet.length ? Int32Array.from(quiet.concat(loud)) : null; // what has a colour lies above what has none
    this.legend.replaceChildren(...this.key(colour), ...(holes ? [h("span", { class: "swatch" }, this.dot(rest()), `${colour.rest || (colour.key === "label" ? "other labels" : "missing")}: ${holes.toLocaleString("en")}`)] : []));
    this.selected();
  }

  key(colour) {
    if (colour.names) {
      return colour.names.map((name, i) => h("span", { class: "swatch" }, this.dot(groups()[i]), name));
    }
    const bar = h("canvas", { class: "ramp", width: "120", height: "8", "aria-hidden": "true" }), ctx = bar.getContext("2d");
    for (let i = 0; i < 120; i++) { ctx.fillStyle = hex(scale(i / 119)); ctx.fillRect(i, 0, 1, 8); }
    return [h("span", { class: "swatch" }, colour.words(colour.low), bar, colour.words(colour.high)), h("span", { class: "soft" }, colour.unit || "")];
  }

  dot(fill) {
    const canvas = h("canvas", { width: "20", height: "20", class: "dot", "aria-hidden": "true" }), ctx = canvas.getContext("2d");
    ctx.fillStyle = fill;
    ctx.beginPath(); ctx.arc(10, 10, 9, 0, 7); ctx.fill();
    return canvas;
  }

  get edges() { // the ends of all points, across and up
    const ends = [[Infinity, -Infinity], [Infinity, -Infinity]];
    for (let i = 0; i < this.n; i++) for (let k = 0; k < 2; k++) {
      ends[k][0] = Math.min(ends[k][0], this.xy[2 * i + k]); ends[k][1] = Math.max(ends[k][1], this.xy[2 * i + k]);
    }
    return ends;
  }

  bounds() { // what the view holds unless chosen: all points, clear of the words at its edges
    const [[left, right], [low, high]] = this.edges, { width, height } = this, edge = { left: 34, right: 14, top: 28, bottom: 46 };
    const unit = Math.max((right - left) / Math.max(60, width - edge.left - edge.right), (high - low) / Math.max(60, height - edge.top - edge.bottom), 1e-6);
    return [(left + right) / 2 - (edge.left - edge.right) / 2 * unit, (low + high) / 2 - (edge.bottom - edge.top) / 2 * unit, width * unit];
  }

  get view() { return this.state.view || (this.home = this.bounds()); } // centre and width, in latent units
  get pixel() { return this.width / this.view[2]; }
  toScreen([a, b]) { const [x, y] = this.view; return [this.width / 2 + (a - x) * this.pixel, this.height / 2 - (b - y) * this.pixel]; }
  toLatent([s, t]) { const [x, y] = this.view; return [x + (s - this.width / 2) / this.pixel, y - (t - this.height / 2) / this.pixel]; }
  get radius() { return Math.max(1.3, Math.min(4, 170 / Math.sqrt(this.n))) * Math.min(2, Math.max(1, Math.sqrt(this.bounds()[2] / this.view[2]))); }

  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.drawNow(); });
  }

  drawNow() {
    const start = performance.now();
    this.width = this.box.clientWidth;
    this.height = this.box.clientHeight;
    if (!this.width) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1), w = Math.round(this.width * ratio), hh = Math.round(this.height * ratio);
    if (this.base.width !== w || this.base.height !== hh) { this.base.width = w; this.base.height = hh; this.image = null; }
    const ctx = this.base.getContext("2d");
    this.image = this.image || ctx.createImageData(w, hh);
    this.splat(this.image, w, hh, ratio);
    ctx.putImageData(this.image, 0, 0);
    this.frames.push(performance.now() - start);
    if (this.frames.length > 240) this.frames.shift();
    this.over();
  }

  splat(image, w, hh, ratio) { // discs, blended into the pixels one after the other
    const { data } = image, { xy, colours, n, order } = this;
    data.fill(0);
    const r = this.radius * ratio, R = Math.ceil(r), alpha = Math.max(0.45, 0.95 - 0.1 * Math.log10(Math.max(1, n / 100)));
    const disc = [];
    for (let y = -R; y <= R; y++) for (let x = -R; x <= R; x++) {
      const cover = Math.min(1, Math.max(0, r + 0.5 - Math.hypot(x, y))) * alpha;
      if (cover > 0.02) disc.push([4 * (y * w + x), cover]);
    }
    const at = Int32Array.from(disc, (d) => d[0]), cover = Float32Array.from(disc, (d) => d[1]), many = at.length;
    const [vx, vy] = this.view, p = this.pixel * ratio, cx = w / 2 - vx * p, cy = hh / 2 + vy * p;
    for (let k = 0; k < n; k++) {
      const i = order ? order[k] : k, x = Math.round(cx + xy[2 * i] * p), y = Math.round(cy - xy[2 * i + 1] * p);
      if (x < R || y < R || x >= w - R || y >= hh - R) continue;
      const red = colours[3 * i], green = colours[3 * i + 1], blue = colours[3 * i + 2], middle = 4 * (y * w + x);
      for (let m = 0; m < many; m++) {
        const q = middle + at[m], a = cover[m], old = data[q + 3] / 255, sum = a + old * (1 - a), share = a / sum;
        data[q] += (red - data[q]) * share;
        data[q + 1] += (green - data[q + 1]) * share;
        data[q + 2] += (blue - data[q + 2]) * share;
        data[q + 3] = 255 * sum;
      }
    }
  }

  over() { // what lies above the points
    if (!this.width) return;
    this.marks(new CanvasInk(this.top, this.width, this.height));
  }

  marks(on, saved = false) {
    const { state } = this, soft = ink("soft"), line = ink("line"), strong = ink("ink");
    this.axes(on, soft, line);
    const round = state.basis !== "umap"; // a UMAP keeps neighbours, and neither lengths nor shapes
    if (round && this.app.rings()) {
      for (const k of [1, 2]) {
        const [x, y] = this.toScreen(state.basis === "dims" ? [0, 0] : state.project(new Float64Array(this.meta.dim)));
        on.circle(x, y, k * this.pixel, { stroke: soft, line: 1, alpha: 0.55 });
      }
    }
    if (round) (this.app.ellipses || []).forEach((e) => on.path(this.ellipse(e), { stroke: e.own ? strong : soft, line: e.own ? 2 : 0.6, close: true }));
    state.pins.forEach((pin, i) => {
      const [x, y] = this.toScreen(state.project(pin.z));
      on.circle(x, y, 9, { fill: ink("card"), stroke: strong, line: 1.5 });
      on.text(this.app.letter(i), x, y + 4, { fill: strong, size: 11, anchor: "middle", weight: 700 });
    });
    if (this.app.own) {
      const [x, y] = this.toScreen(state.project(this.app.own.mean));
      on.path([[x, y - 8], [x + 8, y], [x, y + 8], [x - 8, y]], { fill: ink("mark"), stroke: ink("card"), line: 1.5, close: true });
    }
    if (!saved) this.cross(on, this.toScreen(state.place()));
    if (this.lasso && this.lasso.length > 1) on.path(this.lasso, { stroke: strong, line: 1.5, dash: [4, 4] });
  }

  cross(on, [x, y]) { // in a colour that no datum has, with a rim of paper
    for (const [stroke, line] of [[ink("card"), 6], [ink("mark"), 2.5]]) {
      for (const [a, b] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) on.path([[x + 8 * a, y + 8 * b], [x + 17 * a, y + 17 * b]], { stroke, line });
      on.circle(x, y, 8, { stroke, line });
    }
  }

  axes(on, soft, line) {
    const card = ink("card"), plain = this.state.basis === "umap" ? [] : null; // whose axes have no numbers
    const [low, , high] = [this.toLatent([0, this.height]), 0, this.toLatent([this.width, 0])];
    for (const [v, said] of plain || ticks(low[0], high[0], 6)) {
      const [x] = this.toScreen([v, 0]);
      if (x < 30 || x > this.width - 12) continue;
      on.path([[x, this.height - 4], [x, this.height]], { stroke: line });
      on.text(said, x, this.height - 8, { fill: soft, size: 11, anchor: "middle", halo: card });
    }
    for (const [v, said] of plain || ticks(low[1], high[1], 6)) {
      const [, y] = this.toScreen([0, v]);
      if (y < 24 || y > this.height - 24) continue;
      on.path([[0, y], [4, y]], { stroke: line });
      on.text(said, 8, y + 4, { fill: soft, size: 11, halo: card });
    }
    const { state, meta } = this, share = meta.pca && meta.pca.share.map((s) => `${Math.round(100 * s)}% of the variance`);
    const names = state.basis === "pca" ? [`first component, ${share[0]}`, `second component, ${share[1]}`]
      : state.basis === "umap" ? ["UMAP, first axis", "UMAP, second axis"] : [dimension(state.across), dimension(state.up)];
    const across = `${names[0]} →`, up = `↑ ${names[1]}`;
    on.text(across, this.width - 10, this.height - 26, { fill: soft, size: 12, anchor: "end", halo: card });
    on.text(up, 10, 18, { fill: soft, size: 12, halo: card });
  }

  ellipse({ mean, covariance }) { // two standard deviations
    const { state, meta } = this, dims = state.basis === "dims";
    const axis = (k) => (dims ? null : meta.pca.axes[k]), [i, j] = [state.across, state.up];
    const cov = (a, b) => {
      if (dims) return covariance([i, j][a], [i, j][b]);
      let s = 0;
      for (let p = 0; p < meta.dim; p++) for (let q = 0; q < meta.dim; q++) s += axis(a)[p] * axis(b)[q] * covariance(p, q);
      return s;
    };
    const xx = cov(0, 0), xy = dims && i === j ? 0 : cov(0, 1), yy = dims && i === j ? 0 : cov(1, 1);
    const l = Math.sqrt(xx), m = l > 0 ? xy / l : 0, n = Math.sqrt(Math.max(0, yy - m * m)), [cx, cy] = state.project(mean);
    return Array.from({ length: 48 }, (_, k) => {
      const a = 2 * Math.cos(k * Math.PI / 24), b = 2 * Math.sin(k * Math.PI / 24);
      return this.toScreen([cx + l * a, cy + m * a + n * b]);
    });
  }

  nearestOnScreen([s, t], within) {
    const [a, b] = this.toLatent([s, t]), limit = within / this.pixel;
    let best = -1, least = limit * limit;
    for (let i = 0; i < this.n; i++) {
      const d = (this.xy[2 * i] - a) ** 2 + (this.xy[2 * i + 1] - b) ** 2;
      if (d < least) { least = d; best = i; }
    }
    return best;
  }

  listen() {
    const { top } = this, touches = new window.Map();
    const spot = (e) => { const r = top.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
    let start = null, moved = false;
    top.addEventListener("pointerdown", (e) => {
      top.setPointerCapture(e.pointerId);
      touches.set(e.pointerId, spot(e));
      start = spot(e); moved = false;
      this.grip = { view: [...this.view], at: start, spread: this.spread(touches) };
      if (this.mode === "lasso" && !e.shiftKey) this.lasso = [start];
    });
    top.addEventListener("pointermove", (e) => {
      const here = spot(e);
      if (!touches.has(e.pointerId)) { if (e.pointerType !== "touch") this.hover(here); return; }
      touches.set(e.pointerId, here);
      if (Math.hypot(here[0] - start[0], here[1] - start[1]) > 4) moved = true;
      if (!moved) return;
      this.tip.hidden = true;
      if (touches.size > 1) this.pinch(touches);
      else if (this.mode === "move" || e.shiftKey) this.pan(here);
      else if (this.mode === "lasso") { this.lasso.push(here); this.over(); }
      else this.walk(here);
    });
    const end = (e) => {
      touches.delete(e.pointerId);
      if (this.lasso) { this.cut(moved); return; }
      if (!moved && start && e.type === "pointerup") this.click(spot(e));
      start = null;
    };
    top.addEventListener("pointerup", end);
    top.addEventListener("pointercancel", end);
    top.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    top.addEventListener("wheel", (e) => { e.preventDefault(); this.zoom(Math.exp(-e.deltaY / 400), spot(e)); }, { passive: false });
    top.addEventListener("keydown", (e) => this.key_(e));
  }

  spread(touches) { const [a, b] = [...touches.values()]; return b ? Math.hypot(a[0] - b[0], a[1] - b[1]) : 0; }
  pinch(touches) {
    const wide = this.spread(touches), { view, spread } = this.grip;
    if (spread) this.state.set({ view: [view[0], view[1], view[2] * spread / Math.max(8, wide)] });
    else this.grip = { view: [...this.view], at: this.grip.at, spread: wide };
  }
  pan([s, t]) {
    const { view, at } = this.grip;
    this.state.set({ view: [view[0] - (s - at[0]) / this.pixel, view[1] + (t - at[1]) / this.pixel, view[2]] });
  }
  zoom(by, at = [this.width / 2, this.height / 2]) {
    const [x, y, wide] = this.view, [a, b] = this.toLatent(at), to = Math.min(1e4, Math.max(1e-4, wide / by));
    this.state.set({ view: [a + (x - a) * to / wide, b + (y - b) * to / wide, to] });
  }
  fit() { this.state.set({ view: null }); }
  walk(at) { this.step(this.toLatent(at)); }
  step(to) { this.app.go(this.state.lift(to), to); }

  click(at) {
    const row = this.nearestOnScreen(at, 8);
    if (row >= 0) { this.app.pinRow(row); this.app.go(this.app.latent(row)); } else this.walk(at);
  }

  key_(e) {
    const step = this.view[2] / (e.shiftKey ? 200 : 40), [a, b] = this.state.place();
    const moves = { ArrowLeft: [a - step, b], ArrowRight: [a + step, b], ArrowUp: [a, b + step], ArrowDown: [a, b - step] };
    if (moves[e.key]) this.step(moves[e.key]);
    else if (e.key === "+" || e.key === "=") this.zoom(1.3);
    else if (e.key === "-") this.zoom(1 / 1.3);
    else if (e.key === "0") this.fit();
    else if (e.key === "Escape") this.state.set({ selection: null });
    else if (e.key === "Enter") { const [row] = this.app.nearest(this.state.z, 1); this.app.pinRow(row); } else return;
    e.preventDefault();
  }

  async hover(at) {
    const row = this.nearestOnScreen(at, 10);
    if (row < 0) { this.tip.hidden = true; this.hovered = -1; return; }
    if (row !== this.hovered) { this.hovered = row; await this.app.tip(row, this.tip); if (this.hovered !== row) return; }
    this.tip.hidden = false;
    const [x, y] = this.toScreen([this.xy[2 * row], this.xy[2 * row + 1]]), w = this.tip.offsetWidth, t = this.tip.offsetHeight;
    this.tip.style.left = `${Math.max(4, Math.min(this.width - w - 4, x + 14))}px`;
    this.tip.style.top = `${Math.max(4, y + t + 20 > this.height ? y - t - 12 : y + 14)}px`;
  }

  cut(moved) { // the rows inside the lasso
    const ring = this.lasso.map((p) => this.toLatent(p));
    this.lasso = null;
    if (!moved || ring.length < 3) { this.state.set({ selection: null }); return; }
    const inside = [];
    for (let i = 0; i < this.n; i++) {
      const x = this.xy[2 * i], y = this.xy[2 * i + 1];
      let odd = false;
      for (let a = 0, b = ring.length - 1; a < ring.length; b = a++) {
        const [ax, ay] = ring[a], [bx, by] = ring[b];
        if ((ay > y) !== (by > y) && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
      }
      if (odd) inside.push(i);
    }
    this.state.set({ selection: inside.length ? inside : null });
    say(`${count(inside.length, "row")} selected`);
  }

  selected() {
    const { selection } = this.state;
    this.picked.hidden = !selection;
    if (!selection) return;
    const n = selection.length, all = this.app.arrays.log_p, mean = selection.reduce((s, i) => s + all[i], 0) / n;
    const error = n > 1 ? Math.sqrt(selection.reduce((s, i) => s + (all[i] - mean) ** 2, 0) / (n - 1) / n) : this.app.arrays.log_p_error[selection[0]];
    this.picked.replaceChildren(h("strong", {}, `${count(selection.length, "row")} selected`),
      h("span", { class: "soft" }, `mean log p(x) ${measured([mean, error])}`), h("span", { class: "gap" }),
      button("CSV", () => this.app.saveRows(selection), { "aria-label": "Save the selected rows as CSV" }),
      button("Clear", () => this.state.set({ selection: null })));
  }

  async savePng() {
    const canvas = document.createElement("canvas"), on = new CanvasInk(canvas, this.width, this.height, 2);
    on.rect(0, 0, this.width, this.height, { fill: ink("card") });
    on.ctx.drawImage(this.base, 0, 0, this.width, this.height);
    this.marks(on, true);
    save("map.png", await on.blob());
  }
  saveSvg() {
    const on = new SvgInk(this.width, this.height, "Map of the latent space"), by = new window.Map();
    on.rect(0, 0, this.width, this.height, { fill: ink("card") });
    for (let i = 0; i < this.n; i++) {
      const at = this.toScreen([this.xy[2 * i], this.xy[2 * i + 1]]), c = hex(this.colours.subarray(3 * i, 3 * i + 3));
      if (at[0] < 0 || at[1] < 0 || at[0] > this.width || at[1] > this.height) continue;
      if (!by.has(c)) by.set(c, []);
      by.get(c).push(at);
    }
    for (const [c, points] of by) on.dots(points, c, this.radius);
    this.marks(on, true);
    save("map.svg", on.markup(), "image/svg+xml");
  }
}

