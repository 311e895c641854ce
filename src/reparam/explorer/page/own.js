// A datum of one's own: an image or a row, by drop, file, pencil or keys. Its posterior, reconstruction and log p(x).
import { ink } from "./colours.js";
import { button, count, explain, fill, h, later, measured, number, say } from "./dom.js";
import { CanvasInk } from "./figure.js";
import { picture, rowTable } from "./show.js";
import { logUnits, plainCell, readCell } from "./units.js";

export function own(app) {
  const { state, meta } = app, { data } = meta;
  const message = h("p", { class: "error", role: "alert" }), result = h("div", { class: "result" }, h("p", { class: "empty" }, "Its posterior, reconstruction and log p(x) will stand here, and its place on the map."));
  const file = h("input", { type: "file", id: "own-file", accept: data.kind === "image" ? "image/*,.csv,.txt" : ".csv,.tsv,.txt,.json",
    onchange: () => file.files[0] && take(file.files[0]) });
  const zone = h("div", { class: "drop", id: "drop" },
    h("p", {}, data.kind === "image" ? `Drop an image here; it is scaled to ${data.width}\u00a0×\u00a0${data.height}.`
      : data.kind === "table" ? "Drop a file here: a line of names, then one of values." : `Drop a file with one row of ${data.size} numbers here, or type it below.`),
    h("label", { class: "file", for: "own-file" }, "Choose a file"), file);
  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, (e) => { e.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (e) => { e.preventDefault(); zone.classList.remove("over"); if (e.dataTransfer.files[0]) take(e.dataTransfer.files[0]); });

  const fail = (text) => { message.textContent = text; };
  async function take(given) {
    fail("");
    try {
      const isText = /\.(csv|tsv|txt|json)$/i.test(given.name) || /^(text|application\/json)/.test(given.type);
      if (isText || data.kind !== "image") await show(parse(await given.text(), data));
      else await show(await imageOf(given, data));
    } catch (error) { fail(error.message); }
  }

  async function show(x) { // x in model units
    const context = app.sized(x);
    if (meta.contexts.some((c) => c.total) && !x.some((v) => v > 0)) throw new Error("a row without any count has no size");
    app.ownDatum = x;
    const [q] = await app.model.encode(x, 1, context);
    const [mean, score] = await Promise.all([app.model.mean(q.mean, 1, context), app.model.score(x, context, app.draws, 7)]);
    if (data.kind === "table") score.logp += logUnits(data.columns, x);
    app.own = { mean: Float64Array.from(q.mean), covariance: q.covariance, own: true };
    app.go(app.own.mean);
    const all = app.arrays.log_p, below = all.reduce((s, v) => s + (v < score.logp), 0) / all.length;
    const where = below < 0.005 ? "lower than nearly all" : `higher than ${Math.round(100 * below)}%`;
    const pair = data.kind === "table" ? h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Your row and its reconstruction" },
      rowTable(data, mean, 0, { heading: "Reconstruction", beside: x, besideName: "Yours", classes: await app.model.classes(q.mean, context, data.columns.map((_, j) => j)) }))
      : h("div", { class: "pair" },
        h("figure", {}, picture(h("canvas", { role: "img", "aria-label": "Your datum" }), data, x, 0, data.kind === "line" ? 300 : 128), h("figcaption", {}, "yours")),
        h("figure", {}, picture(h("canvas", { role: "img", "aria-label": "Its reconstruction", id: "own-reconstruction" }), data, mean, 0, data.kind === "line" ? 300 : 128), h("figcaption", {}, "reconstruction")));
    fill(result, pair, h("dl", { class: "numbers" },
      h("dt", {}, "log p(x)"), h("dd", { id: "own-logp" }, measured([score.logp, score.error])),
      h("dt", {}, "estimated by"), h("dd", { id: "own-draws" }, `${count(score.k, "draw")} of ${meta.autoencoder ? "the prior" : "q(z|x)"}, worth ${number(score.ess, 1)}`),
      h("dt", {}, "among the data"), h("dd", {}, `${where} of the ${all.length.toLocaleString("en")} rows shown`),
      score.kl === null ? null : [h("dt", {}, "KL of q(z|x)"), h("dd", {}, `${number(score.kl, 1)} nats`)]), histogram(all, score.logp),
    data.binarize ? h("p", { class: "note" }, "The model reads black and white: grey values are cut at 1/2 here.") : null,
    explain("What does it mean?", "log p(x) is how many nats the model gives to this datum; it is estimated from draws of q(z|x), and the error "
      + "behind ± is one standard error of these draws. Where they are worth only a few, the estimate rests on a handful of them and lies too low. A datum far to "
      + "the left of all others is one that the model has not learned."));
    say(`Your datum: log p(x) ${number(score.logp, 1)} nats, ${where} of the data`);
  }
  app.showOwn = show;

  const parts = [zone];
  if (data.kind === "image") parts.push(pencil(data, later(120, show)));
  else parts.push(typed(app, show, fail));
  return { element: h("div", {}, h("div", { class: "two" }, h("div", {}, parts, message), result)), when: "", draw: () => null };
}

async function imageOf(given, data) { // scaled to the model's size, in its colours; light paper is turned dark if data are
  let bitmap;
  try { bitmap = await createImageBitmap(given); } catch { throw new Error(`${given.name} is no image that this browser can read`); }
  const canvas = document.createElement("canvas"), { width, height, channels, last } = data;
  canvas.width = width; canvas.height = height;
  const ctx = canvas.getContext("2d", { willReadFrequently: true });
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(bitmap, 0, 0, width, height);
  const rgba = ctx.getImageData(0, 0, width, height).data, size = width * height, x = new Float32Array(size * channels);
  for (let i = 0; i < size; i++) {
    const [r, g, b, a] = rgba.subarray(4 * i, 4 * i + 4), part = [r, g, b].map((v) => (v * a) / 255 / 255);
    if (channels === 1) x[i] = r === g && g === b ? part[0] : 0.299 * part[0] + 0.587 * part[1] + 0.114 * part[2];
    else for (let c = 0; c < 3; c++) x[last ? i * 3 + c : c * size + i] = part[c];
  }
  return x;
}

function split(line, mark) { // the cells of a line of a file, in quotes or not
  const cells = [], pattern = new RegExp(`(?:^|${mark})(?:\\s*"((?:[^"]|"")*)"\\s*|([^${mark}]*))`, "g");
  for (const [, quoted, bare] of line.matchAll(pattern)) cells.push(quoted !== undefined ? quoted.replace(/""/g, '"') : bare.trim());
  return cells;
}

export function parse(text, data) { // the numbers of one row, by their names where there are any
  const lines = text.replace(/[[\]]/g, "").trim().split(/\r?\n/).filter((l) => l.trim());
  if (!lines.length) throw new Error("there is nothing in it");
  const columns = data.kind === "table" ? data.columns : null, names = columns ? columns.map((c) => c.name) : data.columns || [];
  const mark = ["\t", ";", ","].find((m) => lines[0].includes(m)) || (columns ? "," : "\\s");
  let cells = split(lines[0], mark);
  if (lines.length > 1 && names.length) {
    const missing = names.find((n) => !cells.includes(n)), row = split(lines[1], mark);
    if (missing !== undefined) throw new Error(`there is no column "${missing}"`);
    cells = names.map((n) => row[cells.indexOf(n)] ?? "");
  } else if (!columns) cells = lines.flatMap((l) => split(l, mark)).filter((c) => c !== "");
  if (cells.length !== data.size) throw new Error(`a row has ${data.size} ${columns ? "cells" : "numbers"}; these are ${cells.length}`);
  const plain = { name: "the row" };
  return Float32Array.from(cells, (c, j) => readCell(columns ? columns[j] : plain, c) / (data.pixelMax || 1));
}

function pencil(data, changed) { // a pad to draw on, as large as the image is wide
  const side = 196, canvas = h("canvas", { class: "pad", width: side, height: Math.round(side * data.height / data.width),
    role: "img", "aria-label": "A pad: draw a datum with the mouse or a finger" }), ctx = canvas.getContext("2d", { willReadFrequently: true });
  const clear = () => { ctx.fillStyle = "black"; ctx.fillRect(0, 0, canvas.width, canvas.height); };
  clear();
  let last = null;
  const at = (e) => { const r = canvas.getBoundingClientRect(); return [(e.clientX - r.left) * canvas.width / r.width, (e.clientY - r.top) * canvas.height / r.height]; };
  canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); last = at(e); stroke(last); });
  canvas.addEventListener("pointermove", (e) => { if (last) stroke(at(e)); });
  canvas.addEventListener("pointerup", () => { last = null; });
  function stroke(to) {
    ctx.strokeStyle = "white"; ctx.lineWidth = side / data.width * Math.max(1.1, data.width / 13); ctx.lineCap = "round";
    ctx.beginPath(); ctx.moveTo(...last); ctx.lineTo(to[0] + 0.01, to[1]); ctx.stroke();
    last = to;
    const small = document.createElement("canvas"), { width, height, channels } = data;
    small.width = width; small.height = height;
    const s = small.getContext("2d");
    s.imageSmoothingQuality = "high";
    s.drawImage(canvas, 0, 0, width, height);
    const grey = s.getImageData(0, 0, width, height).data, x = new Float32Array(width * height * channels);
    for (let i = 0; i < width * height; i++) for (let c = 0; c < channels; c++) x[data.last ? i * channels + c : c * width * height + i] = grey[4 * i] / 255;
    changed(x);
  }
  return h("div", {}, h("p", { class: "label" }, "or draw one"), canvas, h("div", { class: "row" }, button("Clear the pad", clear)));
}

function typed(app, show, fail) { // a field for each column of a table; else the row as text
  const { data } = app.meta, table = data.kind === "table";
  const attempt = (make) => { fail(""); try { show(make()).catch((e) => fail(e.message)); } catch (error) { fail(error.message); } };
  const start = (give) => app.start.push(async () => give(Array.from(await app.model.rows([0]), (v) => v * (data.pixelMax || 1))));
  if (!table) {
    const text = h("textarea", { rows: "3", id: "own-text", spellcheck: "false" });
    start((x) => { text.value = x.map((v) => +v.toPrecision(6)).join(", "); });
    return h("div", {}, h("label", { class: "label", for: "own-text" }, "or change this row"), text,
      h("div", { class: "row" }, button("Read it", () => attempt(() => parse(text.value, data)))));
  }
  const fields = data.columns.map((c) => (c.names && c.names.length && c.names.length <= 60
    ? h("select", { "aria-label": c.name }, [...c.names, ""].map((name) => h("option", { value: name }, name || "missing")))
    : h("input", { type: "text", "aria-label": c.name, spellcheck: "false", placeholder: c.kind ? "missing" : "" })));
  start((x) => x.forEach((v, j) => { fields[j].value = plainCell(data.columns[j], v); }));
  return h("form", { class: "fields", onsubmit: (e) => {
    e.preventDefault();
    attempt(() => Float32Array.from(data.columns, (c, j) => readCell(c, fields[j].value) / (data.pixelMax || 1)));
  } }, h("p", { class: "label" }, "or fill one in"), data.columns.map((c, j) => h("label", {}, h("span", {}, c.name), fields[j])),
  h("button", { type: "submit", class: "strong" }, "Read it"));
}

function histogram(all, mark) { // where a value stands among others
  const width = 300, height = 64, canvas = h("canvas", { role: "img", "aria-label": "log p(x) of the data, with a mark at yours" });
  canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
  const sorted = Float32Array.from(all).sort(), low = Math.min(mark, sorted[Math.floor(0.005 * sorted.length)]), high = Math.max(mark, sorted[sorted.length - 1]);
  const bins = new Array(40).fill(0), on = new CanvasInk(canvas, width, height);
  for (const v of sorted) { const k = Math.floor(40 * (v - low) / (high - low || 1)); if (k >= 0) bins[Math.min(39, k)]++; }
  const top = Math.max(...bins);
  bins.forEach((b, k) => on.rect(k * width / 40, height - 16 - (height - 20) * b / top, width / 40 - 1, (height - 20) * b / top, { fill: ink("soft") }));
  const x = width * (mark - low) / (high - low || 1);
  on.path([[x, 0], [x, height - 14]], { stroke: ink("mark"), line: 2 });
  on.text(number(low, 0), 0, height - 2, { fill: ink("soft"), size: 11 });
  on.text(number(high, 0), width, height - 2, { fill: ink("soft"), size: 11, anchor: "end" });
  on.text("log p(x) of the rows shown, nats", width / 2, height - 2, { fill: ink("soft"), size: 11, anchor: "middle" });
  return canvas;
}
