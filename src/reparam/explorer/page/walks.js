// Sheets of decoded points: the manifold, traversals, ways between pins, arithmetic, samples of the prior.
import { button, choice, dimension, explain, h, later, number } from "./dom.js";
import { normalQuantile } from "./maths.js";
import { Sheet, named } from "./show.js";

// As large as the room allows for so many beside each other, within limits.
const tileWidth = (app, images, others, columns, names = 0) =>
  Math.max(22, Math.min(app.meta.data.kind === "image" ? images : others, Math.floor((app.room - names) / columns) - 3));

const narrow = (app) => app.room < 700; // a phone: fewer beside each other, and those larger

const under = (sheet, ...text) => h("div", {}, h("div", { class: "lead" }, text), sheet.element);

export function manifold(app) {
  const { state, meta } = app, images = meta.data.kind === "image", phone = narrow(app);
  const across = phone ? (images ? 9 : 5) : images ? 21 : 11, up = images ? 11 : 7;
  const sheet = new Sheet(app, "manifold", tileWidth(app, 52, 104, across));
  const at = (k, axis) => {
    const p = (k + 0.5) / (axis ? up : across);
    if (state.basis === "umap") return app.map.edges[axis][0] + p * (app.map.edges[axis][1] - app.map.edges[axis][0]);
    if (state.basis === "pca") return meta.pca.sd[axis] * normalQuantile(p);
    return app.model.quantile(p, axis ? state.up : state.across);
  };
  const said = h("p", { class: "note" });
  const draw = () => sheet.show(Array.from({ length: up }, (_, i) => ({
    tiles: Array.from({ length: across }, (_2, j) => { const z = state.lift([at(j, 0), at(up - 1 - i, 1)]); return { z, name: named(z) }; }),
  })));
  const steps = {
    dims: "The two axes of the map, at even steps of the prior's probability (its inverse distribution function); the other dimensions are as in the point.",
    pca: "The two principal components, at even steps of the probability of a normal distribution as wide as the codes; what is orthogonal to them is as in the point.",
    umap: "The UMAP in even steps from end to end, each place decoded at a mean of the codes of its nearest data: where the map is empty it shows no more than these.",
  };
  const tell = () => { said.textContent = `${steps[state.basis]} A square goes to its place.`; };
  state.on("basis", tell);
  tell();
  return { draw, when: "basis across up context theme z", element: under(sheet, said) };
}

export function traversals(app) {
  const { state, meta } = app, steps = narrow(app) ? 7 : 11, sheet = new Sheet(app, "traversals", tileWidth(app, 64, 84, steps, 90));
  const draw = () => sheet.show(state.order.map((j) => {
    const { idle, kl } = meta.dims[j];
    return { name: dimension(j), note: idle ? "not in use" : kl === null ? "" : `${number(kl, 2)} nats`, idle,
      tiles: Array.from({ length: steps }, (_, k) => {
        const z = Float64Array.from(state.z);
        z[j] = app.model.quantile((k + 0.5) / steps, j);
        return { z, name: `${dimension(j)} at ${number(z[j], 2)}` };
      }) };
  }));
  return { draw, when: "z context theme", element: under(sheet,
    h("p", { class: "note" }, "Each row moves one dimension from the low end of the prior to the high end, and leaves the others as they are in the point.")) };
}

function pinChoice(app, label, get, set) {
  const box = h("span", {});
  const fill = () => {
    const options = app.state.pins.map((pin, i) => [i, `${app.letter(i)}: ${app.pinName(pin)}`]);
    box.replaceChildren(choice(label, options.length ? options : [["", "no pins yet"]], get(), (v) => set(+v)));
  };
  app.state.on("pins", fill);
  fill();
  return box;
}

export function between(a, b, t, way) { // straight, or along the great circle with the length in between
  if (way === "straight") return a.map((v, j) => v + t * (b[j] - v));
  const length = (v) => Math.hypot(...v), la = length(a), lb = length(b);
  if (la < 1e-9 || lb < 1e-9) return between(a, b, t, "straight");
  const cosine = Math.min(1, Math.max(-1, a.reduce((s, v, j) => s + v * b[j], 0) / la / lb)), angle = Math.acos(cosine);
  if (angle < 1e-6 || Math.PI - angle < 1e-6) return between(a, b, t, "straight");
  const size = la + t * (lb - la), p = Math.sin((1 - t) * angle) / Math.sin(angle) / la, q = Math.sin(t * angle) / Math.sin(angle) / lb;
  return a.map((v, j) => size * (p * v + q * b[j]));
}

export function interpolation(app) {
  const { state } = app, steps = narrow(app) ? 5 : 9, sheet = new Sheet(app, "interpolation", tileWidth(app, 110, 130, steps));
  let from = 0, to = 1, way = "straight";
  const empty = h("p", { class: "empty" }, "Pin two data on the map, by a click on each, to see the way between them.");
  const slide = h("input", { type: "range", min: "0", max: "1", step: "0.01", value: "0", "aria-label": "How far along the way", oninput: () => {
    const [a, b] = ends();
    if (a && b) app.go(between(a.z, b.z, +slide.value, way));
  } });
  const ends = () => [state.pins[from], state.pins[to]];
  const draw = () => {
    const [a, b] = ends(), ready = a && b;
    empty.hidden = ready; body.hidden = !ready;
    if (!ready) return null;
    return sheet.show([{ tiles: Array.from({ length: steps }, (_, k) => {
      const z = between(a.z, b.z, k / (steps - 1), way);
      return { z, name: `${Math.round(100 * k / (steps - 1))}% of the way from ${app.letter(from)} to ${app.letter(to)}` };
    }) }]);
  };
  const body = h("div", {}, sheet.element, h("label", { class: "choice wide" }, h("span", {}, "Walk the way"), slide),
    h("p", { class: "note" }, "A straight line may lead through places where the prior is thin; the spherical way turns from one to the other and keeps the distance from the middle."));
  return { draw, when: "pins context theme", element: h("div", {}, h("div", { class: "row" },
    pinChoice(app, "From", () => from, (v) => { from = v; draw(); }), pinChoice(app, "To", () => to, (v) => { to = v; draw(); }),
    choice("Way", [["straight", "straight"], ["spherical", "spherical"]], way, (v) => { way = v; draw(); })), empty, body) };
}

export function arithmetic(app) {
  const { state } = app, chosen = [0, 1, 2], sheet = new Sheet(app, "arithmetic", tileWidth(app, 140, 200, 4));
  const empty = h("p", { class: "empty" }, "Pin three data to add and subtract what the model knows of them.");
  const draw = () => {
    const [a, b, c] = chosen.map((i) => state.pins[i]), ready = a && b && c;
    empty.hidden = ready; sheet.element.hidden = !ready;
    if (!ready) return null;
    const z = a.z.map((v, j) => v + b.z[j] - c.z[j]);
    return sheet.show([{ tiles: [[a.z, app.letter(chosen[0])], [b.z, app.letter(chosen[1])], [c.z, app.letter(chosen[2])],
      [z, `${app.letter(chosen[0])} + ${app.letter(chosen[1])} − ${app.letter(chosen[2])}`]].map(([q, name]) => ({ z: q, name })) }]);
  };
  const picks = ["", "+", "\u2212"].map((sign, i) => pinChoice(app, sign || "Take", () => chosen[i], (v) => { chosen[i] = v; draw(); }));
  return { draw, when: "pins context theme", element: h("div", {}, h("div", { class: "row" }, picks), empty, sheet.element,
    h("p", { class: "note" }, "Three pins, and at the end their sum and difference. It works as far as the model has laid causes out along straight lines; nothing in the bound asks it to.")) };
}

export function samples(app) {
  const { state, meta } = app, phone = narrow(app), across = (meta.data.kind === "image" ? 12 : 6) / (phone ? 2 : 1), down = phone ? 6 : 4, sheet = new Sheet(app, "samples", tileWidth(app, 88, 180, across));
  let seed = 1, draws = "mean";
  const out = h("output", {}, number(state.temperature, 2));
  const heat = h("input", { type: "range", min: "0", max: "1.5", step: "0.05", value: state.temperature, "aria-label": "Temperature",
    oninput: () => state.set({ temperature: +heat.value }) });
  state.on("temperature", () => { heat.value = state.temperature; out.textContent = number(state.temperature, 2); });
  const draw = async () => {
    const n = across * down, z = await app.model.priorDraw(n, state.temperature, seed);
    return sheet.show(Array.from({ length: down }, (_, i) => ({ tiles: Array.from({ length: across }, (_2, j) => {
      const k = i * across + j;
      return { z: z.slice(k * meta.dim, (k + 1) * meta.dim), name: `sample ${k + 1}` };
    }) })), draws === "mean" ? null : (all, m, from) => app.model.draw(all, m, state.context, 1000 * seed + from));
  };
  return { draw, when: "temperature context theme", element: h("div", {}, h("div", { class: "row" },
    h("label", { class: "choice wide" }, h("span", {}, "Temperature"), heat, out),
    choice("Show", [["mean", "the mean of p(x|z)"], ["draw", "a draw of p(x|z)"]], draws, (v) => { draws = v; draw(); }),
    button("Draw again", () => { seed++; draw(); })), sheet.element,
  h("p", { class: "note" }, "z from the prior p(z), its distance from the prior's mean multiplied by the temperature. At 1 these are samples of the model; below, they are more alike and more typical."),
  explain("Why do means look blurred?", "The mean of p(x|z) is an average of everything that could be seen from z. A draw shows one of these, with its noise.")) };
}

export const slow = (work) => later(90, work);
