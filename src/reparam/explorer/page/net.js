// The operations of explorer/program.py, on rows of numbers. Sums are in double precision, results in single.
import { erf, logSumExp, sigmoid, softClip, softplus } from "./maths.js";

const gelu = (kind) => kind === "tanh"
  ? (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
  : (x) => 0.5 * x * (1 + erf(x / Math.SQRT2));

const ACTIVATIONS = {
  relu: () => (x) => (x > 0 ? x : 0),
  tanh: () => Math.tanh,
  silu: () => (x) => x * sigmoid(x),
  sigmoid: () => sigmoid,
  softsign: () => (x) => x / (1 + Math.abs(x)),
  mish: () => (x) => x * Math.tanh(softplus(x)),
  gelu: ([kind]) => gelu(kind),
  elu: ([alpha]) => (x) => (x > 0 ? x : alpha * Math.expm1(x)),
  leaky: ([slope]) => (x) => (x > 0 ? x : slope * x),
  softplus: ([beta, threshold]) => (x) => (x * beta > threshold ? x : softplus(x * beta) / beta),
  log1p: () => Math.log1p,
};

const OPS = {
  linear(op, x, y, rows, w) {
    const { i: wide, o: out, w: W, b: B } = op, all = rows * op.n / wide;
    for (let r = 0; r < all; r++) {
      for (let k = 0; k < out; k++) {
        let sum = B === null ? 0 : w[B + k];
        for (let j = 0, at = W + k * wide, from = r * wide; j < wide; j++) sum += w[at + j] * x[from + j];
        y[r * out + k] = sum;
      }
    }
  },
  act(op, x, y) {
    const f = ACTIVATIONS[op.f](op.a);
    for (let i = 0; i < y.length; i++) y[i] = f(x[i]);
  },
  gate(op, x, y, rows) {
    const { half } = op;
    for (let r = 0; r < rows * op.before; r++) {
      for (let i = 0; i < half; i++) y[r * half + i] = x[2 * r * half + i] * sigmoid(x[(2 * r + 1) * half + i]);
    }
  },
  norm(op, x, y, rows, w) {
    const { size } = op;
    for (let g = 0; g < (rows * op.n) / size; g++) {
      let mean = 0, square = 0;
      for (let i = g * size; i < (g + 1) * size; i++) mean += x[i];
      mean /= size;
      for (let i = g * size; i < (g + 1) * size; i++) square += (x[i] - mean) ** 2;
      const scale = 1 / Math.sqrt(square / size + op.eps);
      for (let i = g * size; i < (g + 1) * size; i++) {
        const c = Math.floor(i / op.each) % op.channels;
        y[i] = (x[i] - mean) * scale * (op.w === null ? 1 : w[op.w + c]) + (op.b === null ? 0 : w[op.b + c]);
      }
    }
  },
  conv(op, x, y, rows, w) {
    const [ci, hi, wi] = op.i, [co, ho, wo] = op.o, [kh, kw] = op.k, [sh, sw] = op.s, [ph, pw] = op.p, [dh, dw] = op.d;
    const from = ci / op.g, to = co / op.g;
    for (let r = 0; r < rows; r++) for (let o = 0; o < co; o++) {
      const first = Math.floor(o / to) * from, filter = op.w + o * from * kh * kw;
      for (let a = 0; a < ho; a++) for (let b = 0; b < wo; b++) {
        let sum = op.b === null ? 0 : w[op.b + o];
        for (let c = 0; c < from; c++) for (let u = 0; u < kh; u++) {
          const row = a * sh - ph + u * dh;
          if (row < 0 || row >= hi) continue;
          const at = ((r * ci + first + c) * hi + row) * wi, k = filter + (c * kh + u) * kw;
          for (let v = 0; v < kw; v++) {
            const column = b * sw - pw + v * dw;
            if (column >= 0 && column < wi) sum += w[k + v] * x[at + column];
          }
        }
        y[((r * co + o) * ho + a) * wo + b] = sum;
      }
    }
  },
  transposed(op, x, y, rows, w) {
    const [ci, hi, wi] = op.i, [co, ho, wo] = op.o, [kh, kw] = op.k, [sh, sw] = op.s, [ph, pw] = op.p, [dh, dw] = op.d;
    const from = ci / op.g, to = co / op.g, sums = new Float64Array(co * ho * wo);
    for (let r = 0; r < rows; r++) {
      for (let o = 0; o < co; o++) sums.fill(op.b === null ? 0 : w[op.b + o], o * ho * wo, (o + 1) * ho * wo);
      for (let c = 0; c < ci; c++) for (let a = 0; a < hi; a++) for (let b = 0; b < wi; b++) {
        const value = x[((r * ci + c) * hi + a) * wi + b], group = Math.floor(c / from) * to;
        if (value === 0) continue;
        for (let o = 0; o < to; o++) for (let u = 0; u < kh; u++) {
          const row = a * sh - ph + u * dh;
          if (row < 0 || row >= ho) continue;
          const at = ((group + o) * ho + row) * wo, k = op.w + ((c * to + o) * kh + u) * kw;
          for (let v = 0; v < kw; v++) {
            const column = b * sw - pw + v * dw;
            if (column >= 0 && column < wo) sums[at + column] += w[k + v] * value;
          }
        }
      }
      y.set(sums, r * op.m);
    }
  },
  residual(op, x, y, rows, w, c) {
    const inner = run(op.inner, w, x, rows, c), skip = run(op.skip, w, x, rows, c);
    for (let i = 0; i < y.length; i++) y[i] = inner[i] + skip[i];
  },
  permute(op, x, y, rows) {
    const { shape, order } = op, strides = shape.map((_, i) => shape.slice(i + 1).reduce((p, s) => p * s, 1));
    const sizes = order.map((i) => shape[i]), steps = order.map((i) => strides[i]), at = sizes.map(() => 0);
    for (let r = 0, k = 0; r < rows; r++) for (let m = 0; m < op.n; m++, k++) {
      let from = r * op.n;
      for (let i = 0; i < at.length; i++) from += at[i] * steps[i];
      y[k] = x[from];
      for (let i = at.length - 1; i >= 0 && ++at[i] === sizes[i]; i--) at[i] = 0;
    }
  },
  context(op, x, y, rows, w, c) {
    for (let r = 0; r < rows; r++) {
      y.set(x.subarray(r * op.n, (r + 1) * op.n), r * op.m);
      for (let j = 0; j < op.size; j++) {
        const from = r * op.m + op.n + j * op.each;
        y.fill(c[r * op.row + op.at + j], from, from + op.each);
      }
    }
  },
  rescale(op, x, y, rows, w) {
    for (let i = 0; i < y.length; i++) y[i] = (x[i] - w[op.loc + (i % op.n)]) / w[op.spread + (i % op.n)];
  },
  cells(op, x, y, rows, w) { // the cells of a table: numbers, counts, then categories one-hot; 0 where missing
    const { classes } = op, wide = classes.length, of = (kind) => classes.flatMap((c, j) => (c === kind ? [j] : []));
    const real = of(0), count = of(1);
    for (let r = 0, k = 0; r < rows; r++) {
      const cell = (j) => x[r * wide + j];
      const put = (j, v) => { y[k++] = Number.isNaN(v) ? 0 : softClip((v - w[op.loc + j]) / w[op.spread + j], op.far, op.far); };
      for (const j of real) put(j, cell(j));
      for (const j of count) put(j, Math.log1p(Math.max(0, cell(j))));
      classes.forEach((n, j) => { for (let c = 0; n > 1 && c < n; c++) y[k++] = +(Math.min(n - 1, Math.max(0, Math.trunc(cell(j)))) === c); });
      if (op.mask) for (let j = 0; j < wide; j++) y[k++] = +!Number.isNaN(cell(j));
    }
  },
  floor(op, x, y, rows, w) {
    for (let i = 0; i < y.length; i++) {
      const j = i % op.n;
      y[i] = j < op.free ? x[i] : logSumExp([x[i], w[op.least + (j % op.columns)]]);
    }
  },
  parts(op, x, y, rows, w) {
    for (let r = 0; r < rows; r++) {
      let at = r * op.n;
      for (const part of op.parts) { y.set(run(part.ops, w, x.slice(at, at + part.n), 1), at); at += part.n; }
    }
  },
  last(op, x, y, rows) {
    for (let r = 0; r < rows; r++) y.set(x.subarray((r + 1) * op.n - op.m, (r + 1) * op.n), r * op.m);
  },
};

// The output (rows × m) of a list of operations for x (rows × n), with c (rows × context).
export function run(ops, w, x, rows, c) {
  let at = x;
  for (const op of ops) {
    const next = new Float32Array(rows * op.m);
    OPS[op.op](op, at, next, rows, w, c);
    at = next;
  }
  return at;
}
