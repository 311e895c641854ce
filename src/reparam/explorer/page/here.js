// What stands at the point: the decoded mean, a draw, the nearest data, and a slider for each dimension.
import { button, dimension, explain, h, later, number, short } from "./dom.js";
import { groups, ink } from "./colours.js";
import { CanvasInk } from "./figure.js";
import { plot } from "./glyph.js";
import { picture, quantiles, rowTable } from "./show.js";

export function here(app) {
  const { state, meta } = app, { data } = meta, image = data.kind !== "table", plain = data.kind === "line";
  const mean = h("canvas", { role: "img", "aria-label": "The mean of p(x|z) at this point" });
  const draw = h("canvas", { role: "img", "aria-label": "One draw of p(x|z) at this point" });
  const table = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "The row that the model expects here" });
  const near = h("div", { class: "row near" });
  const place = h("p", { class: "soft place" }), most = h("p", { class: "soft place" });
  let seed = 1, turn = 0;

  let busy = false, again = false;
  const redraw = async () => { // one at a time, and the last one always
    if (busy) { again = true; return; }
    busy = true;
    try { await one(); } finally { busy = false; }
    if (again) { again = false; redraw(); }
  };
  const one = async () => {
    const mine = ++turn, times = image ? 1 : 200;
    const [m, d] = await Promise.all([app.model.mean(state.z, 1, state.context), app.model.draw(state.z, 1, state.context, seed, times)]);
    const classes = image ? null : await app.model.classes(state.z, state.context, data.columns.map((_, j) => j));
    if (mine !== turn) return;
    app.decoded = m;
    if (image) {
      if (plain) {
        const wide = Math.max(200, mean.parentElement.clientWidth || 300);
        Object.assign(mean.style, { width: `${wide}px`, height: "200px" });
        plot(new CanvasInk(mean, wide, 200), data, m, d, wide, 200);
        const top = Array.from(m.keys()).sort((a, b) => m[b] - m[a]).slice(0, 5);
        most.textContent = `Largest means: ${top.map((j) => `${app.element(j)} ${short(m[j] * (data.pixelMax || 1))}`).join(", ")}`;
        return;
      }
      const wide = Math.min(168, (app.wide - 16) / 2);
      picture(mean, data, m, 0, wide);
      picture(draw, data, d, 0, wide);
    } else table.replaceChildren(rowTable(data, m, 0, { ...quantiles(d, times, data.size, 0.9), classes, heading: data.columns.some((c) => c.kind) ? "Expected" : "Mean", beside: d.subarray(0, data.size), besideName: "A draw" }));
  };
  const neighbours = later(60, async () => {
    const rows = app.nearest(state.z, 6);
    const lp = await app.model.logPrior(state.z);
    const x = await app.model.rows(rows);
    place.textContent = lp === null ? "" : `log p(z) ${number(lp, 1)} nats; ${app.distance(state.z, rows[0]) < 1e-6 ? `here lies ${app.title(rows[0])}` : `the nearest datum is ${short(app.distance(state.z, rows[0]))} away`}`;
    near.replaceChildren(...rows.map((row, i) => h("button", {
      type: "button", class: "tile", "aria-label": `${app.title(row)}: go there and pin`, title: app.title(row),
      onclick: () => { app.pinRow(row); app.go(app.latent(row)); },
    }, picture(h("canvas", { "aria-hidden": "true" }), data, x, i * data.size, plain ? 72 : 44))));
  });
  state.on("z context theme", () => { redraw(); neighbours(); });
  app.start.push(redraw, neighbours);
  if (plain) addEventListener("resize", later(50, redraw));

  const sliders = state.order.map((j) => slider(app, j));
  const alive = sliders.filter((_, i) => !meta.dims[state.order[i]].idle), dead = sliders.filter((_, i) => meta.dims[state.order[i]].idle);
  const draws = button("Draw again", () => { seed++; redraw(); });
  return h("section", { class: "card here", "aria-labelledby": "here-title" },
    h("div", { class: "head" }, h("h2", { id: "here-title" }, "Here"),
      h("div", { class: "row tools" }, button("Pin", () => app.pin({ row: null, z: Float64Array.from(state.z) }), { "aria-label": "Pin this point" }), draws)),
    plain ? h("div", {}, h("figure", {}, mean, h("figcaption", { class: "legend" }, h("span", { class: "swatch" }, app.map.dot(ink("accent")), "mean of p(x|z)"), h("span", { class: "swatch" }, app.map.dot(groups()[1]), "a draw of it"))), data.columns ? most : null)
      : image ? h("div", { class: "pair" }, h("figure", {}, mean, h("figcaption", {}, "mean of p(x|z)")), h("figure", {}, draw, h("figcaption", {}, "a draw of it")))
      : h("div", {}, table, explain("What do the bars say?", "The dot is the expected value, the broad bar holds nine of ten draws of p(x|z), the red line "
        + "is the draw beside it. Of columns of classes the bar is the probability of each class. A positive column is expected on the scale of its logarithm, "
        + "a proportion on that of its log-odds: there the model reads them.")),
    place, h("p", { class: "label" }, "Nearest data"), near,
    app.contexts(),
    h("div", { class: "head" }, h("h3", {}, "Dimensions"), button("To the mean", () => app.go(meta.dims.map((d) => d.mean)))),
    h("div", { class: "sliders" }, alive),
    dead.length ? h("details", { class: "dead" }, h("summary", {}, `${dead.length === 1 ? "1 dimension carries" : `${dead.length} dimensions carry`} nothing`),
      h("p", { class: "note" }, "The encoder writes nothing into them: their posterior is the prior, and the decoder has learned to look away."), dead) : null,
    explain("Why in this order?", "The KL of a dimension is how many nats it tells about a datum beyond what the prior knew: the "
      + "most telling come first. A dimension of 0 nats is not in use."));
}

function slider(app, j) {
  const { state, meta } = app, d = meta.dims[j];
  const low = Math.min(-3, Math.floor(d.low)), high = Math.max(3, Math.ceil(d.high));
  const out = h("output", {});
  const input = h("input", { type: "range", min: low, max: high, step: "0.01", "aria-label": `${dimension(j)}${d.idle ? ", not in use" : ""}`,
    "data-dim": j, oninput: () => { const z = Float64Array.from(state.z); z[j] = +input.value; app.go(z); } });
  const follow = () => { input.value = state.z[j]; out.textContent = number(state.z[j], 2); };
  state.on("z", follow);
  follow();
  return h("div", { class: d.idle ? "slider idle" : "slider" }, h("span", { class: "dim" }, dimension(j)), input, out,
    h("small", { class: "soft" }, d.kl === null ? `sd ${short(d.sd)}` : `${number(d.kl, 2)} nats`));
}
