// How good the model is: its numbers, the doctor's findings, KL by dimension, the curves of training, its parts.
import { groups, ink } from "./colours.js";
import { button, dimension, explain, h, measured, number, save } from "./dom.js";
import { CanvasInk, SvgInk, ticks } from "./figure.js";

class Chart { // a figure that is SVG on the page, and can be saved as both
  constructor(app, name, title, width, height, draw) {
    Object.assign(this, { name, title, width, height, draw });
    this.place = h("div", { class: "scroll chart", tabindex: "0", role: "group", "aria-label": title });
    app.state.on("theme", () => this.show());
    this.element = h("div", {}, this.place, h("div", { class: "row save" },
      button("PNG", () => this.png(), { class: "quiet", "aria-label": `Save ${name} as PNG` }),
      button("SVG", () => save(`${name}.svg`, this.svg().markup(), "image/svg+xml"), { class: "quiet", "aria-label": `Save ${name} as SVG` })));
    this.show();
  }
  svg() { const on = new SvgInk(this.width, this.height, this.title); this.draw(on, this.width, this.height); return on; }
  show() { this.place.replaceChildren(this.svg().root); }
  async png() {
    const on = new CanvasInk(document.createElement("canvas"), this.width, this.height, 3);
    on.rect(0, 0, this.width, this.height, { fill: ink("card") });
    this.draw(on, this.width, this.height);
    save(`${this.name}.png`, await on.blob());
  }
}

function klBars(app) {
  const { meta, state } = app, dims = state.order, top = Math.max(...meta.dims.map((d) => (d.kl === null ? d.sd : d.kl)), 1e-6);
  const width = Math.max(480, 60 + dims.length * 26);
  return new Chart(app, "kl", "KL of each dimension, in nats", width, 200, (on, w, hh) => {
    const soft = ink("soft"), y = (v) => hh - 28 - (hh - 48) * v / top;
    for (const [v, said] of ticks(0, top, 4)) {
      on.path([[40, y(v)], [w, y(v)]], { stroke: ink("line") });
      on.text(said, 34, y(v) + 4, { fill: soft, size: 11, anchor: "end" });
    }
    dims.forEach((j, i) => {
      const d = meta.dims[j], v = d.kl === null ? d.sd : d.kl, x = 46 + i * (w - 50) / dims.length, wide = Math.min(40, (w - 50) / dims.length - 5);
      on.rect(x, y(v), wide, hh - 28 - y(v), { fill: d.idle ? ink("line") : groups()[0] });
      on.text(dimension(j), x + wide / 2, hh - 12, { fill: soft, size: 11, anchor: "middle" });
    });
  }).element;
}

function curves(app, name, title) {
  const records = app.meta.history, series = ["train", "validation"].map((kind) => [kind, records.map((r) => [r.epoch, r[`${kind}_${name}`]]).filter(([, v]) => v !== null && v !== undefined)]).filter(([, p]) => p.length);
  if (!series.length) return null;
  const flat = series.flatMap(([, p]) => p.map((q) => q[1])).sort((a, b) => a - b), cut = flat[records.length < 8 ? 0 : Math.ceil(0.04 * flat.length)]; // the first epochs, far below, stay at the edge
  const low = name === "kl" ? flat[0] : cut, high = flat[flat.length - 1], last = records[records.length - 1].epoch, first = records[0].epoch;
  return h("div", {}, h("h4", {}, `${title}, nats per datum`), new Chart(app, name, `${title} over epochs, nats per datum`, 360, 194, (on, w, hh) => {
    const soft = ink("soft"), x = (e) => 48 + (w - 60) * (e - first) / (last - first || 1), y = (v) => hh - 34 - (hh - 56) * (Math.max(low, v) - low) / (high - low || 1);
    for (const [v, said] of ticks(low, high, 4)) {
      on.path([[48, y(v)], [w, y(v)]], { stroke: ink("line") });
      on.text(said, 42, y(v) + 4, { fill: soft, size: 11, anchor: "end" });
    }
    series.forEach(([kind, points], i) => {
      on.path(points.map(([e, v]) => [x(e), y(v)]), { stroke: groups()[i], line: 2 });
      on.text(kind, 48 + 48 * i, 10, { fill: groups()[i], size: 11, weight: 600 });
    });
    for (const [e] of ticks(first, last, 5).filter(([t]) => Number.isInteger(t))) on.text(String(e), x(e), hh - 18, { fill: soft, size: 11, anchor: "middle" });
    on.text("epoch", w - 4, hh - 3, { fill: soft, size: 11, anchor: "end" });
  }).element);
}

export function health(app) {
  const { meta } = app, s = meta.scores, d = meta.doctor;
  const rows = [["log p(x)", s.log_p, "How many nats the model gives a datum: higher is better."],
    ["ELBO", s.elbo, "The bound that training raises, reconstruction minus KL: never above log p(x)."],
    ["Reconstruction", s.rec, "How probable a datum is given its own code."],
    ["KL", s.kl, "How much the code says about a datum beyond what the prior said already."]].filter((r) => r[1]);
  return { when: "", draw: () => null, element: h("div", { class: "health" },
    h("section", {}, h("h3", {}, "How good it is"), h("table", { class: "facts figures" }, h("tbody", {}, rows.map(([name, value, words]) =>
      h("tr", {}, h("th", { scope: "row" }, name, h("small", {}, words)), h("td", {}, measured(value)))))),
    h("p", { class: "note" }, `Means over the ${s.n.toLocaleString("en")} rows shown, ± one standard error; log p(x) by ${s.method === "prior" ? "sampling of the prior" : "importance sampling"} with ${s.k} draws a row, a lower bound in expectation.`),
    explain("What is the bound?", "log p(x) is an average over all z that could have caused x, which nobody can sum up. The evidence lower bound "
      + "(ELBO) lies below it by exactly the KL between the encoder's q(z|x) and the true posterior: the better the encoder, the tighter.")),
    h("section", {}, h("h3", {}, meta.dims[0].kl === null ? "Spread of each dimension" : "KL of each dimension, nats"), klBars(app),
      explain("What is the KL?", "KL(q(z|x) || p(z)) is how far the encoder's belief about a datum is from the prior, in nats: what the code costs, and "
        + "the most that it can tell. A dimension with 0 nats tells nothing.")),
    d ? h("section", { class: "all" }, h("h3", {}, "What the doctor says"), d.findings.length ? h("ol", { class: "findings" }, d.findings.map((f) =>
      h("li", {}, h("strong", {}, f.name[0].toUpperCase() + f.name.slice(1)), h("p", {}, f.sentence), h("p", { class: "soft" }, `Try: ${f.remedy}`)))) : h("p", {}, d.said)) : null,
    meta.history.length > 1 ? h("section", { class: "all" }, h("h3", {}, "Training"), h("div", { class: "charts" },
      curves(app, "objective", "Bound"), curves(app, "reconstruction", "Reconstruction"), curves(app, "kl", "KL")),
      meta.data.kind === "table" && meta.data.columns.some((col) => col.kind) ? h("p", { class: "note" }, "The curves are in the units in which the model reads the columns; the numbers above are per unit of the table.") : null) : null,
    h("section", { class: "all" }, h("h3", {}, "The model"), h("table", { class: "facts" }, h("tbody", {}, meta.facts.map(([name, value]) =>
      h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, value)))))) ) };
}
