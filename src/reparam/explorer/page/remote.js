// The model, computed by the server that the page came from: numbers go and come in binary.
import { unpack } from "./payload.js";
import { normalQuantile } from "./maths.js";

export async function ask(what, table, arrays = []) { // a JSON head and float32 arrays there; a block of arrays back
  let body;
  if (table) {
    const head = new TextEncoder().encode(JSON.stringify({ ...table, lengths: arrays.map((a) => a.length) }));
    const pad = (4 - (head.length % 4)) % 4, size = head.length + pad;
    const bytes = new Uint8Array(4 + size + arrays.reduce((s, a) => s + 4 * a.length, 0));
    bytes.fill(32, 4, 4 + size);
    new DataView(bytes.buffer).setUint32(0, size, true);
    bytes.set(head, 4);
    let at = 4 + size;
    for (const a of arrays) { new Float32Array(bytes.buffer, at, a.length).set(a); at += 4 * a.length; }
    body = bytes;
  }
  const answer = await fetch(what, { method: table ? "POST" : "GET", body, credentials: "omit", cache: "no-store" });
  if (!answer.ok) throw new Error((await answer.text()).slice(0, 300) || `the server answers ${answer.status}`);
  return unpack(await answer.arrayBuffer());
}

export class Remote {
  constructor(meta, arrays) { Object.assign(this, { meta, dim: meta.dim, size: meta.data.size, c: arrays.context, piece: 512 }); }
  async send(what, table, z, context) {
    return ask(what, table, [Float32Array.from(z), context || new Float32Array(0)]);
  }
  async rows(indices) {
    const { arrays } = await ask("rows", { rows: Array.from(indices) });
    return arrays.x;
  }
  async column(j) { return (await ask("column", { column: j })).arrays.x; }
  async mean(z, rows, context) { return (await this.send("decode", { rows }, z, context)).arrays.x; }
  async typical(z, rows, context) { return (await this.send("decode", { rows, typical: true }, z, context)).arrays.x; }
  async draw(z, rows, context, seed, times = 1) { return (await this.send("draw", { rows, seed, times }, z, context)).arrays.x; }
  async classes(z, context, columns) {
    const { meta } = await this.send("classes", { rows: 1 }, z, context);
    return columns.map((c) => (meta.classes ? meta.classes[c] : null));
  }
  async encode(x, rows, context) {
    const { arrays } = await this.send("encode", { rows }, x, context), { dim } = this;
    return Array.from({ length: rows }, (_, r) => {
      const cut = (a, n) => Array.from(a.subarray(r * n, (r + 1) * n)), cov = cut(arrays.covariance, dim * dim);
      return { mean: cut(arrays.mean, dim), sd: cut(arrays.sd, dim), covariance: (i, j) => cov[i * dim + j] };
    });
  }
  async score(x, context, k, seed) { return (await this.send("score", { rows: 1, k, seed }, x, context)).meta; }
  async priorDraw(n, temperature, seed) { return (await ask("prior", { rows: n, temperature, seed })).arrays.z; }
  quantile(p, j) { // of N(0, 1), or between those of many draws
    const { quantiles } = this.meta.prior;
    if (!quantiles) return normalQuantile(p);
    const row = quantiles[j], at = Math.min(row.length - 1.001, Math.max(0, p * row.length - 0.5)), i = Math.floor(at);
    return row[i] + (at - i) * (row[i + 1] - row[i]);
  }
  async logPrior(z) { return (await this.send("logprior", { rows: 1 }, z, null)).meta.log; }
}
