// The model, computed here. Every method answers with a promise, so that a server can stand in its place.
import { Random, logSumExp } from "./maths.js";
import { likelihood, posterior, prior } from "./heads.js";
import { run } from "./net.js";

export class Local {
  constructor(meta, arrays) {
    Object.assign(this, { meta, x: arrays.x, w: arrays.weights, c: arrays.context });
    this.size = meta.data.size;
    this.piece = 16; // rows that are decoded in one go
    this.dim = meta.dim;
    this.p = prior(meta.model.prior, this.w);
    this.px = likelihood(meta.model.decoder.head, this.w);
    this.wide = this.c ? this.c.length / meta.rows : 0;
  }

  given(context, rows) { // the context of one row, for all of them
    if (!this.wide) return null;
    const c = new Float32Array(rows * this.wide);
    for (let r = 0; r < rows; r++) c.set(context, r * this.wide);
    return c;
  }

  parameters(z, rows, context) {
    const { ops } = this.meta.model.decoder;
    const out = run(ops, this.w, Float32Array.from(z), rows, this.given(context, rows));
    return { out, each: out.length / rows };
  }

  async rows(indices) { // data in model units
    const white = this.meta.data.pixelMax || 1, { size } = this, x = new Float32Array(indices.length * size);
    indices.forEach((r, i) => { for (let j = 0; j < size; j++) x[i * size + j] = this.x[r * size + j] / white; });
    return x;
  }

  async column(j) { // one number of every row, in its own units
    return Float32Array.from({ length: this.meta.rows }, (_, i) => this.x[i * this.size + j]);
  }

  async mean(z, rows, context) {
    const { out, each } = this.parameters(z, rows, context), y = new Float32Array(rows * this.size);
    for (let r = 0; r < rows; r++) this.px.mean(out, r * each, y, r * this.size);
    return y;
  }

  // The mean, and of columns of classes the most probable one: what a row at z looks like.
  async typical(z, rows, context) {
    const y = await this.mean(z, rows, context), { kind, columns } = this.meta.data;
    const of = kind === "table" ? columns.map((c, j) => (c.classes ? j : -1)).filter((j) => j >= 0) : [];
    if (!of.length) return y;
    const { out, each } = this.parameters(z, rows, context);
    for (let r = 0; r < rows; r++) for (const j of of) {
      const p = this.px.classes(out, r * each, j);
      if (p) y[r * this.size + j] = p.indexOf(Math.max(...p));
    }
    return y;
  }

  async draw(z, rows, context, seed, times = 1) { // ``times`` draws of each row
    const { out, each } = this.parameters(z, rows, context), y = new Float32Array(rows * times * this.size);
    const random = new Random(seed);
    for (let r = 0; r < rows * times; r++) this.px.draw(out, Math.floor(r / times) * each, y, r * this.size, random);
    return y;
  }

  async classes(z, context, columns) { // the probabilities of the classes of each column, null for other columns
    const { out } = this.parameters(z, 1, context);
    return columns.map((c) => (this.meta.data.columns[c].classes ? this.px.classes(out, 0, c) : null));
  }

  binary(x) { // what the encoder reads: grey values are made binary at 1/2, as far as the page can tell
    return this.meta.data.binarize ? x.map((v) => +(v >= 0.5)) : x;
  }

  posteriors(x, rows, context) {
    const head = this.meta.model.encoder;
    const out = run(head.ops, this.w, Float32Array.from(this.binary(x)), rows, context);
    return Array.from({ length: rows }, (_, r) => posterior(head, out, r * head.size));
  }

  async encode(x, rows, context) { // mean, standard deviations and covariance of q(z|x)
    const c = context && context.length === rows * this.wide ? context : this.given(context, rows);
    return this.posteriors(x, rows, c).map((q) => ({
      mean: Array.from(q.mean), sd: Array.from(q.sd), covariance: (i, j) => q.covariance(i, j),
    }));
  }

  async score(x, context, k, seed) { // log p(x) by k draws of q, its error, and the terms of the bound
    const [q] = this.posteriors(x, 1, this.given(context, 1)), random = new Random(seed), data = this.binary(x);
    const point = !q.log, z = new Float32Array(k * this.dim), logs = [], weights = [];
    for (let i = 0; i < k; i++) z.set((point ? this.p : q).draw(random), i * this.dim);
    const { out, each } = this.parameters(z, k, context);
    let reconstruction = 0, kl = 0;
    for (let i = 0; i < k; i++) {
      const here = z.subarray(i * this.dim, (i + 1) * this.dim), px = this.px.log(out, i * each, data, 0);
      const ratio = point ? 0 : this.p.log(here) - q.log(here);
      logs.push(px + ratio);
      reconstruction += px / k;
      kl -= ratio / k;
    }
    const total = logSumExp(logs);
    for (const l of logs) weights.push(Math.exp(l - total));
    const ess = 1 / weights.reduce((s, w) => s + w * w, 0);
    const error = Math.sqrt(Math.max(0, 1 / ess - 1 / k)); // of the log of a mean, to first order
    return { logp: total - Math.log(k), error, ess, k, reconstruction, kl: point ? null : kl };
  }

  async priorDraw(n, temperature, seed) {
    const random = new Random(seed), z = new Float32Array(n * this.dim), { mean } = this.p;
    for (let i = 0; i < n; i++) {
      this.p.draw(random).forEach((v, j) => { z[i * this.dim + j] = mean[j] + temperature * (v - mean[j]); });
    }
    return z;
  }

  quantile(p, j) { return this.p.quantile(p, j); } // the prior's inverse distribution function in dimension j
  logPrior(z) { return this.p.log(z); }
}
