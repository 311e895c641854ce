// Data on the page: small buttons with a picture in them, sheets of these that can be saved, and rows of a table.
import { groups, ink } from "./colours.js";
import { button, dimension, h, number, save } from "./dom.js";
import { CanvasInk, SvgInk } from "./figure.js";
import { aspect, glyph } from "./glyph.js";
import { className, fitting, inUnits, word } from "./units.js";

export function picture(canvas, data, x, from, width, under) {
  const height = Math.round(width / aspect(data));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  glyph(new CanvasInk(canvas, width, height), data, x, from, [0, 0, width, height], under);
  return canvas;
}

// A grid of data: each is a button that leads to its latent. ``rows`` are [{ name, idle, tiles: [{ z, name }] }].
export class Sheet {
  constructor(app, file, width) {
    Object.assign(this, { app, file, width, rows: [] });
    this.grid = h("div", { class: "sheet" });
    this.element = h("div", {}, h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `Figure: ${file}` }, this.grid),
      h("div", { class: "row save" },
        button("PNG", async () => save(`${file}.png`, await this.png()), { class: "quiet", "aria-label": `Save ${file} as PNG` }),
        button("SVG", () => save(`${file}.svg`, this.svg(), "image/svg+xml"), { class: "quiet", "aria-label": `Save ${file} as SVG` })));
  }

  async show(rows, compute) {
    const { app } = this, { data } = app.meta, token = (this.token = {});
    const tiles = rows.flatMap((r) => r.tiles), z = new Float32Array(tiles.length * app.meta.dim);
    tiles.forEach((t, i) => z.set(t.z, i * app.meta.dim));
    const make = compute || ((all, n) => app.model.typical(all, n, app.state.context)), { piece } = app.model;
    const x = new Float32Array(tiles.length * data.size);
    for (let from = 0; from < tiles.length; from += piece) { // in pieces, so that the page stays alive meanwhile
      const n = Math.min(piece, tiles.length - from);
      x.set(await make(z.subarray(from * app.meta.dim, (from + n) * app.meta.dim), n, from), from * data.size);
      await new Promise((done) => setTimeout(done));
      if (this.token !== token) return; // a later call has begun
    }
    Object.assign(this, { rows, x });
    const columns = Math.max(...rows.map((r) => r.tiles.length)), named = rows.some((r) => r.name);
    this.grid.style.gridTemplateColumns = `${named ? "max-content " : ""}repeat(${columns}, ${this.width}px)`;
    const same = this.shape === `${named} ${rows.map((r) => r.tiles.length)}`;
    if (!same) this.build(rows, named);
    this.shape = `${named} ${rows.map((r) => r.tiles.length)}`;
    let k = 0;
    rows.forEach((r, i) => {
      if (named) { this.names[i].replaceChildren(r.name, h("small", {}, r.note || "")); this.names[i].classList.toggle("idle", Boolean(r.idle)); }
      r.tiles.forEach((t) => {
        const tile = this.tiles[k];
        picture(tile.firstChild, data, x, k * data.size, this.width);
        tile.setAttribute("aria-label", t.name);
        tile.title = t.name;
        tile.classList.toggle("idle", Boolean(r.idle));
        k++;
      });
    });
  }

  build(rows, named) {
    this.tiles = [];
    this.names = [];
    this.grid.replaceChildren();
    for (const r of rows) {
      if (named) { const name = h("span", { class: "name" }); this.names.push(name); this.grid.append(name); }
      r.tiles.forEach(() => {
        const at = this.tiles.length;
        const tile = h("button", { type: "button", class: "tile", onclick: () => {
          const here = this.rows.flatMap((q) => q.tiles)[at];
          this.app.go(here.z);
        } }, h("canvas", { "aria-hidden": "true" }));
        this.tiles.push(tile);
        this.grid.append(tile);
      });
    }
  }

  drawOn(on, left) {
    const { data } = this.app.meta, wide = this.width + 3, tall = this.width / aspect(data) + 3;
    let k = 0;
    this.rows.forEach((r, i) => {
      if (left) on.text(r.name, 4, i * tall + tall / 2 + 4, { fill: ink("ink"), size: 12 });
      r.tiles.forEach((_, j) => glyph(on, data, this.x, data.size * k++, [left + j * wide, i * tall, wide - 3, tall - 3]));
    });
  }
  get frame() {
    const { data } = this.app.meta, left = this.rows.some((r) => r.name) ? 90 : 0;
    return [left, left + Math.max(...this.rows.map((r) => r.tiles.length)) * (this.width + 3),
      this.rows.length * (this.width / aspect(data) + 3)];
  }
  png() {
    const [left, width, height] = this.frame, on = new CanvasInk(document.createElement("canvas"), width, height, 3);
    on.rect(0, 0, width, height, { fill: ink("card") });
    this.drawOn(on, left);
    return on.blob();
  }
  svg() {
    const [left, width, height] = this.frame, on = new SvgInk(width, height, this.file);
    on.rect(0, 0, width, height, { fill: ink("card") });
    this.drawOn(on, left);
    return on.markup();
  }
}

export const named = (z) => Array.from(z).slice(0, 4).map((v, j) => `${dimension(j)} ${number(v, 2)}`).join(", ");

const WIDE = 104;

const bar = (from, to, mid, colour, other) => {
  const canvas = h("canvas", { class: "bar", "aria-hidden": "true" }), on = new CanvasInk(canvas, WIDE, 14);
  on.rect(0, 5, WIDE, 4, { fill: ink("well") });
  const at = (t) => WIDE * Math.min(1, Math.max(0, t));
  if (from !== null) on.rect(at(from), 4, Math.max(1, at(to) - at(from)), 6, { fill: ink("line") });
  if (Number.isFinite(other)) on.rect(Math.min(WIDE - 2, at(other)), 0, 2, 14, { fill: ink("mark") });
  on.circle(Math.min(WIDE - 4, Math.max(4, at(mid))), 7, 4, { fill: colour });
  return canvas;
};

const shares = (p, colour) => { // the probabilities of classes beside each other, the most probable one full
  const canvas = h("canvas", { class: "bar", "aria-hidden": "true" }), on = new CanvasInk(canvas, WIDE, 14), top = Math.max(...p);
  on.rect(0, 3, WIDE, 8, { fill: ink("card") });
  let at = 0;
  p.forEach((q) => {
    on.ctx.globalAlpha = q === top ? 1 : 0.35;
    on.rect(WIDE * at, 3, Math.max(0, WIDE * q - 1), 8, { fill: colour });
    at += q;
  });
  return canvas;
};

const swatch = (colour) => {
  const canvas = h("canvas", { class: "key", "aria-hidden": "true" }), on = new CanvasInk(canvas, 6, 14);
  on.rect(0, 0, 6, 14, { fill: colour });
  return canvas;
};

// A row as a table: each column with its value, a bar within the range of the data, and what else is known of it.
export function rowTable(data, x, from, { low, high, classes, heading = "Mean", beside, besideName } = {}) {
  const white = data.pixelMax || 1;
  return h("table", { class: "rows" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Column"), h("th", { scope: "col" }, heading),
      beside ? h("th", { scope: "col" }, besideName) : null,
      h("th", { scope: "col" }, low ? "9 of 10 draws" : "Among the data"))),
    h("tbody", {}, data.columns.map((c, j) => {
      const at = (t) => inUnits(c, t * white), share = (t) => (t * white - c.low) / (c.high - c.low || 1), p = classes && classes[j];
      const top = p && p.indexOf(Math.max(...p)), draw = (t) => word(c, fitting(c, at(t))), colour = groups()[j % groups().length];
      const kind = p ? "kind" : "plain"; // the names of classes may take two lines, numbers and dates one
      return h("tr", {}, h("th", { scope: "row", title: c.name }, swatch(colour), c.name),
        h("td", { class: kind }, p ? [className(c, top), h("small", { class: "soft" }, ` ${Math.round(100 * p[top])}%`)] : word(c, at(x[from + j]))),
        beside ? h("td", { class: kind }, draw(beside[j])) : null,
        h("td", {}, p ? shares(p, colour) : bar(low ? share(low[j]) : null, high ? share(high[j]) : null, share(x[from + j]), colour, beside && share(beside[j])),
          low && !p ? h("small", { class: "soft under" }, `${draw(low[j])} to ${draw(high[j])}`) : null));
    })));
}

export function quantiles(draws, times, size, share) {
  const low = new Float32Array(size), high = new Float32Array(size), column = new Float32Array(times);
  for (let j = 0; j < size; j++) {
    for (let i = 0; i < times; i++) column[i] = draws[i * size + j];
    column.sort();
    low[j] = column[Math.floor((1 - share) / 2 * (times - 1))];
    high[j] = column[Math.ceil((1 + share) / 2 * (times - 1))];
  }
  return { low, high };
}
