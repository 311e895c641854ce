// The distributions of explorer/heads.py: p(x|z) by its elements, q(z|x), p(z). Densities are normalised, in nats, of what is seen: NaN is a missing element.
import { LOG_2PI, boundedLogRate, erf, lgamma, logFactorial, logSigmoid, logSumExp, normalQuantile, scaleFromLog, sigmoid, softClip }
  from "./maths.js";

// -- elements of x: families of one number, given parameters of the net ----------------------------------------------

const log1mexp = (a) => (a < Math.LN2 ? Math.log(-Math.expm1(-a)) : Math.log1p(-Math.exp(-a))); // log(1 - e^-a), a > 0

function logSinhc(l) { // log(sinh(l/2) / (l/2))
  const a = Math.abs(l), v = l * l / 4;
  if (a < 0.5) return v * (1 / 6 + v * (-1 / 180 + v * (1 / 2835 + v * (-1 / 37800 + v / 467775))));
  return a / 2 + log1mexp(a) - Math.log(a);
}

function continuousMean(l) {
  if (Math.abs(l) < 0.5) { // the derivative of the series of logSinhc
    const u = l / 2, v = u * u;
    return 0.5 + u / 2 * (1 / 3 + v * (-1 / 45 + v * (2 / 945 + v * (-1 / 4725 + v * (2 / 93555)))));
  }
  const a = Math.abs(l), upper = -1 / Math.expm1(-a) - 1 / a;
  return l > 0 ? upper : 1 - upper;
}

const logBeta = (a, b) => lgamma(a) + lgamma(b) - lgamma(a + b);
const softmax = (logits) => { const top = logSumExp(logits); return logits.map((l) => Math.exp(l - top)); };

function levels(step, count, loc, scale) { // a logistic in bins; its ends hold the tails
  return (k) => {
    const below = ((k - 0.5) * step - loc) / scale, above = ((k + 0.5) * step - loc) / scale;
    if (k < 0.5) return logSigmoid(above);
    if (k > count - 1.5) return logSigmoid(-below);
    return logSigmoid(above) + logSigmoid(-below) + log1mexp(step / scale);
  };
}

function levelMean(step, count, log) {
  let sum = 0;
  for (let k = 1; k < count; k++) sum += k * step * Math.exp(log(k));
  return sum;
}

function levelDraw(step, count, loc, scale, random) {
  const u = random.uniform(), x = loc + scale * (Math.log(u) - Math.log1p(-u));
  return Math.min(count - 1, Math.max(0, Math.ceil(x / step - 0.5))) * step;
}

const classes = {
  mean: (p) => softmax(p).reduce((sum, q, k) => sum + k * q, 0),
  draw: (p, r) => r.choose(softmax(p)),
  log: (p, x) => p[x] - logSumExp(p),
  classes: softmax,
};

const normalLog = (x, m, s) => -(((x - m) / s) ** 2) / 2 - Math.log(s) - LOG_2PI / 2;

// params(out, i, head) are the parameters of element i; the rest is a function of them.
const FAMILIES = {
  bernoulli: {
    mean: ([l]) => sigmoid(l), draw: ([l], r) => +(r.uniform() < sigmoid(l)), log: ([l], x) => logSigmoid(x ? l : -l),
    classes: ([l]) => [sigmoid(-l), sigmoid(l)],
  },
  continuous_bernoulli: {
    mean: ([l]) => continuousMean(l),
    draw([l], r) { // the inverse of its distribution function
      const u = r.uniform();
      if (Math.abs(l) < 1e-6) return u;
      return l > 0 ? 1 + Math.log(u + (1 - u) * Math.exp(-l)) / l : -Math.log(1 - u + u * Math.exp(l)) / -l;
    },
    log: ([l], x) => l * (x - 0.5) - logSinhc(l),
  },
  gaussian: {
    mean: ([m]) => m, draw: ([m, s], r) => m + s * r.normal(),
    log: ([m, s], x) => normalLog(x, m, s),
  },
  laplace: {
    mean: ([m]) => m,
    draw: ([m, s], r) => m + s * Math.log(r.uniform() / r.uniform()),
    log: ([m, s], x) => -Math.abs(x - m) / s - Math.log(2 * s),
  },
  log_normal: {
    mean: ([m, s]) => Math.exp(m + s * s / 2), draw: ([m, s], r) => Math.exp(m + s * r.normal()),
    log: ([m, s], x) => normalLog(Math.log(x), m, s) - Math.log(x),
  },
  student_t: {
    mean: ([m, , df]) => (df > 1 ? m : NaN),
    draw: ([m, s, df], r) => m + s * r.normal() * Math.sqrt(df / 2) * Math.exp(-r.logGamma(df / 2) / 2),
    log: ([m, s, df], x) => lgamma((df + 1) / 2) - lgamma(df / 2) - Math.log(df * Math.PI) / 2 - Math.log(s)
      - (df + 1) / 2 * Math.log1p(((x - m) / s) ** 2 / df),
  },
  beta: {
    mean: ([a, b]) => a / (a + b),
    draw([a, b], r) { return sigmoid(r.logGamma(a) - r.logGamma(b)); },
    log: ([a, b], x) => (a - 1) * Math.log(x) + (b - 1) * Math.log1p(-x) - logBeta(a, b),
  },
  poisson: {
    mean: ([l]) => Math.exp(l), draw: ([l], r) => r.poisson(Math.exp(l)),
    log: ([l], x) => x * l - Math.exp(l) - logFactorial(x),
  },
  negative_binomial: {
    mean: ([l]) => Math.exp(l),
    draw: ([l, t], r) => r.poisson(Math.exp(Math.min(l - Math.log(t) + r.logGamma(t), 34))),
    log: ([l, t], x) => lgamma(x + t) - lgamma(t) - logFactorial(x)
      + t * logSigmoid(Math.log(t) - l) + x * logSigmoid(l - Math.log(t)),
  },
  binomial: {
    mean: ([l, n]) => n * sigmoid(l), draw: ([l, n], r) => r.binomial(n, sigmoid(l)),
    log: ([l, n], x) => logFactorial(n) - logFactorial(x) - logFactorial(n - x) + x * logSigmoid(l)
      + (n - x) * logSigmoid(-l),
  },
  categorical: classes,
  ordinal: classes,
  discretized_logistic: {
    mean: ([m, s, step, n]) => levelMean(step, n, levels(step, n, m, s)),
    draw: ([m, s, step, n], r) => levelDraw(step, n, m, s, r),
    log: ([m, s, step, n], x) => levels(step, n, m, s)(Math.round(x / step)),
  },
  gaussian_mixture: {
    mean: (parts) => parts.reduce((sum, [w, m]) => sum + w * m, 0),
    draw(parts, r) { const [, m, s] = parts[r.choose(parts.map((p) => p[0]))]; return m + s * r.normal(); },
    log: (parts, x) => logSumExp(parts.map(([w, m, s]) => Math.log(w) + normalLog(x, m, s))),
  },
  logistic_mixture: {
    mean: (parts) => parts.reduce((sum, [w, m, s, step, n]) => sum + w * levelMean(step, n, levels(step, n, m, s)), 0),
    draw(parts, r) {
      const [, m, s, step, n] = parts[r.choose(parts.map((p) => p[0]))];
      return levelDraw(step, n, m, s, r);
    },
    log: (parts, x) => logSumExp(parts.map(([w, m, s, step, n]) =>
      Math.log(w) + levels(step, n, m, s)(Math.round(x / step)))),
  },
};

function elements(head, w) {
  const { n, second } = head, family = FAMILIES[head.family];
  const other = !second ? null
    : second.log ? (out, at, i) => scaleFromLog(second.log * out[at + n + i]) : (out, at, i) => w[second.at + i];
  const step = head.levels ? head.maximum / (head.levels - 1) : 0, top = head.maximum;
  const plain = (out, at, i) => (other ? [out[at + i], other(out, at, i)] : [out[at + i]]);
  const rate = (out, at, i) => boundedLogRate(out[at + i]) + (head.exposure === undefined ? 0 : Math.log(out[at + head.exposure]));
  const special = {
    student_t: (out, at, i) => [...plain(out, at, i), w[head.df + i]],
    beta(out, at, i) {
      const [l, k] = plain(out, at, i);
      return [scaleFromLog(logSigmoid(l) + Math.log(k)), scaleFromLog(logSigmoid(-l) + Math.log(k))];
    },
    poisson: (out, at, i) => [rate(out, at, i)],
    negative_binomial: (out, at, i) => [rate(out, at, i), other(out, at, i)],
    binomial: (out, at, i) => [out[at + i], head.total],
    categorical: (out, at, i) => Array.from(out.subarray(at + i * head.classes, at + (i + 1) * head.classes)),
    ordinal(out, at, i) {
      const cut = (k) => w[head.cuts + i * (head.classes - 1) + k] - out[at + i];
      return Array.from({ length: head.classes }, (_, k) => k === 0 ? logSigmoid(cut(0))
        : k === head.classes - 1 ? logSigmoid(-cut(k - 1))
          : logSigmoid(cut(k)) + logSigmoid(-cut(k - 1)) + log1mexp(cut(k) - cut(k - 1)));
    },
    discretized_logistic(out, at, i) { const [m, s] = plain(out, at, i); return [top * m, top * s, step, head.levels]; },
    gaussian_mixture(out, at, i) {
      const c = head.components, weight = softmax(Array.from({ length: c }, (_, k) => out[at + k * n + i]));
      return weight.map((p, k) => [p, out[at + (c + k) * n + i], scaleFromLog(out[at + (2 * c + k) * n + i] / 2)]);
    },
    logistic_mixture(out, at, i) {
      const c = head.components, weight = softmax(Array.from({ length: c }, (_, k) => out[at + k * n + i]));
      return weight.map((p, k) => [
        p, top * out[at + (c + k) * n + i], top * scaleFromLog(out[at + (2 * c + k) * n + i]), step, head.levels]);
    },
  };
  const params = special[head.family] || plain;
  return {
    n,
    gate: (second && second.log ? 2 : 1) * n, // where a further channel begins
    mean(out, at, y, to) { for (let i = 0; i < n; i++) y[to + i] = family.mean(params(out, at, i)); },
    draw(out, at, y, to, r) { for (let i = 0; i < n; i++) y[to + i] = family.draw(params(out, at, i), r); },
    log(out, at, x, from) {
      let sum = 0;
      for (let i = 0; i < n; i++) if (!Number.isNaN(x[from + i])) sum += family.log(params(out, at, i), x[from + i]);
      return sum;
    },
    one: (out, at, i) => { const p = params(out, at, i); return { log: (x) => family.log(p, x), mean: family.mean(p) }; },
    classes: (out, at, i) => (family.classes ? family.classes(params(out, at, i)) : null),
  };
}

function multinomial(head) {
  const { n } = head, draws = head.total || 1, shares = (out, at) => softmax(Array.from(out.subarray(at, at + n)));
  return {
    n,
    mean(out, at, y, to) { shares(out, at).forEach((p, i) => { y[to + i] = draws * p; }); },
    draw(out, at, y, to, r) {
      let left = draws, rest = 1;
      shares(out, at).forEach((p, i) => {
        y[to + i] = i === n - 1 ? left : r.binomial(left, Math.min(1, rest > 0 ? p / rest : 0));
        left -= y[to + i]; rest -= p;
      });
    },
    log(out, at, x, from) {
      const top = logSumExp(out.subarray(at, at + n));
      let sum = 0, count = 0;
      for (let i = 0; i < n; i++) {
        const k = x[from + i];
        count += k;
        if (k > 0) sum += k * (out[at + i] - top) - logFactorial(k);
      }
      return sum + logFactorial(count);
    },
    classes: () => null,
  };
}

function zeros(head, w) {
  const inner = elements(head.inner, w), { n } = head, one = new Float64Array(n);
  const gate = (out, at, i) => out[at + inner.gate + i];
  return {
    n,
    mean(out, at, y, to) {
      inner.mean(out, at, y, to);
      for (let i = 0; i < n; i++) y[to + i] *= sigmoid(-gate(out, at, i));
    },
    draw(out, at, y, to, r) {
      inner.draw(out, at, one, 0, r);
      for (let i = 0; i < n; i++) y[to + i] = r.uniform() < sigmoid(gate(out, at, i)) ? 0 : one[i];
    },
    log(out, at, x, from) {
      let sum = 0;
      for (let i = 0; i < n; i++) {
        if (Number.isNaN(x[from + i])) continue;
        const g = gate(out, at, i), inside = logSigmoid(-g) + inner.one(out, at, i).log(x[from + i]);
        sum += x[from + i] === 0 ? logSumExp([logSigmoid(g), inside]) : inside;
      }
      return sum;
    },
    classes: () => null,
  };
}

function affine(head, w) {
  const inner = likelihood(head.inner, w), { n } = head, own = new Float64Array(n);
  const back = (y, to) => { for (let i = 0; i < n; i++) y[to + i] = w[head.loc + i] + w[head.spread + i] * own[i]; };
  return {
    n,
    mean(out, at, y, to) { inner.mean(out, at, own, 0); back(y, to); },
    draw(out, at, y, to, r) { inner.draw(out, at, own, 0, r); back(y, to); },
    log(out, at, x, from) {
      let logSpread = 0;
      for (let i = 0; i < n; i++) {
        own[i] = (x[from + i] - w[head.loc + i]) / w[head.spread + i];
        if (!Number.isNaN(own[i])) logSpread += Math.log(w[head.spread + i]);
      }
      return inner.log(out, at, own, 0) - logSpread;
    },
    classes: () => null,
  };
}

function mixed(head, w) {
  let start = 0;
  const parts = head.parts.map((p) => {
    const part = { ...p, start, of: likelihood(p.head, w), own: new Float64Array(p.columns.length) };
    start += p.size;
    return part;
  });
  const place = new Array(head.n);
  parts.forEach((p) => p.columns.forEach((c, i) => { place[c] = [p, i]; }));
  const spread = (p, y, to) => p.columns.forEach((c, i) => { y[to + c] = p.own[i]; });
  return {
    n: head.n,
    mean(out, at, y, to) { for (const p of parts) { p.of.mean(out, at + p.start, p.own, 0); spread(p, y, to); } },
    draw(out, at, y, to, r) { for (const p of parts) { p.of.draw(out, at + p.start, p.own, 0, r); spread(p, y, to); } },
    log(out, at, x, from) {
      let sum = 0;
      for (const p of parts) {
        p.columns.forEach((c, i) => { p.own[i] = x[from + c]; });
        sum += p.of.log(out, at + p.start, p.own, 0);
      }
      return sum;
    },
    classes: (out, at, c) => place[c][0].of.classes(out, at + place[c][0].start, place[c][1]),
  };
}

export function likelihood(head, w) {
  if (head.kind === "affine") return affine(head, w);
  if (head.kind === "zeros") return zeros(head, w);
  if (head.kind === "mixed") return mixed(head, w);
  return head.family === "multinomial" ? multinomial(head) : elements(head, w);
}

// -- z: Gaussians by their factor, Laplace, mixtures -----------------------------------------------------------------

// N(mean, L L') with lower triangular L (dim × dim, row by row).
export function gaussian(mean, L) {
  const dim = mean.length;
  let logDet = 0;
  for (let i = 0; i < dim; i++) logDet += Math.log(L[i * dim + i]);
  return {
    mean, L, dim,
    sd: Float64Array.from(mean, (_, i) => { let s = 0; for (let j = 0; j <= i; j++) s += L[i * dim + j] ** 2; return Math.sqrt(s); }),
    at(eps) { // mean + L eps
      return Float64Array.from(mean, (m, i) => { let s = m; for (let j = 0; j <= i; j++) s += L[i * dim + j] * eps[j]; return s; });
    },
    draw(r) { return this.at(Float64Array.from(mean, () => r.normal())); },
    log(z, from = 0) {
      const e = new Float64Array(dim);
      let square = 0;
      for (let i = 0; i < dim; i++) {
        let s = z[from + i] - mean[i];
        for (let j = 0; j < i; j++) s -= L[i * dim + j] * e[j];
        e[i] = s / L[i * dim + i];
        square += e[i] * e[i];
      }
      return -square / 2 - logDet - dim * LOG_2PI / 2;
    },
    covariance(i, j) {
      let s = 0;
      for (let k = 0; k <= Math.min(i, j); k++) s += L[i * dim + k] * L[j * dim + k];
      return s;
    },
  };
}

function diagonal(mean, sd) {
  const dim = mean.length, L = new Float64Array(dim * dim);
  sd.forEach((s, i) => { L[i * dim + i] = s; });
  return gaussian(mean, L);
}

function laplace(mean, scale) {
  const base = diagonal(mean, scale.map((b) => b * Math.SQRT2)); // for its moments
  return {
    ...base,
    draw: (r) => Float64Array.from(mean, (m, i) => m + scale[i] * Math.log(r.uniform() / r.uniform())),
    log: (z, from = 0) => mean.reduce((s, m, i) =>
      s - Math.abs(z[from + i] - m) / scale[i] - Math.log(2 * scale[i]), 0),
  };
}

function cholesky(A, dim) {
  const L = new Float64Array(dim * dim);
  for (let i = 0; i < dim; i++) for (let j = 0; j <= i; j++) {
    let s = A[i * dim + j];
    for (let k = 0; k < j; k++) s -= L[i * dim + k] * L[j * dim + k];
    L[i * dim + j] = i === j ? Math.sqrt(s) : s / L[j * dim + j];
  }
  return L;
}

// q(z|x) from the encoder's numbers of one row; null density for a point.
export function posterior(head, out, at) {
  const { dim, rank } = head, numbers = Float64Array.from(out.subarray(at, at + head.size));
  const mean = numbers.slice(0, dim);
  if (head.family === "point") return { mean, dim, sd: new Float64Array(dim), log: null, draw: () => mean, covariance: () => 0 };
  if (head.family === "diagonal") return diagonal(mean, numbers.slice(dim, 2 * dim).map((v) => scaleFromLog(v / 2)));
  if (head.family === "laplace") return laplace(mean, numbers.slice(dim, 2 * dim).map(scaleFromLog));
  const L = new Float64Array(dim * dim);
  if (head.family === "full") {
    for (let i = 0, k = 2 * dim; i < dim; i++) {
      for (let j = 0; j < i; j++) L[i * dim + j] = numbers[k++];
      L[i * dim + i] = scaleFromLog(numbers[dim + i]);
    }
    return gaussian(mean, L);
  }
  const scale = numbers.slice(dim, 2 * dim).map((v) => scaleFromLog(v / 2)); // S (I + F F') S
  const F = numbers.slice(2 * dim).map((v) => softClip(v, 10, 10));
  for (let i = 0; i < dim; i++) for (let j = 0; j < dim; j++) {
    let s = +(i === j);
    for (let k = 0; k < rank; k++) s += F[i * rank + k] * F[j * rank + k];
    L[i * dim + j] = scale[i] * scale[j] * s;
  }
  return gaussian(mean, cholesky(L, dim));
}

export function prior(head, w) {
  const { dim } = head, cut = (at, n) => Float64Array.from(w.subarray(at, at + n));
  if (head.kind === "gaussian") return { ...gaussian(cut(head.mean, dim), cut(head.factor, dim * dim)), plain: head.plain,
    quantile(p, j) { return this.mean[j] + this.sd[j] * normalQuantile(p); } };
  const weight = Array.from(w.subarray(head.log_weights, head.log_weights + head.count), Math.exp);
  const parts = weight.map((_, c) => diagonal(cut(head.means + c * dim, dim), cut(head.scales + c * dim, dim)));
  const mean = new Float64Array(dim), sd = new Float64Array(dim);
  parts.forEach((p, c) => p.mean.forEach((m, i) => { mean[i] += weight[c] * m; }));
  parts.forEach((p, c) => p.mean.forEach((m, i) => { sd[i] += weight[c] * (p.sd[i] ** 2 + (m - mean[i]) ** 2); }));
  return {
    dim, mean, sd: sd.map(Math.sqrt), plain: false,
    quantile(p, j) { // of dimension j alone: its distribution function rises, so halve the interval that holds p
      let low = Math.min(...parts.map((q) => q.mean[j] - 12 * q.sd[j])), high = Math.max(...parts.map((q) => q.mean[j] + 12 * q.sd[j]));
      for (let i = 0; i < 60; i++) {
        const middle = (low + high) / 2;
        const below = parts.reduce((s, q, c) => s + weight[c] * 0.5 * (1 + erf((middle - q.mean[j]) / q.sd[j] / Math.SQRT2)), 0);
        if (below < p) low = middle; else high = middle;
      }
      return (low + high) / 2;
    },
    draw: (r) => parts[r.choose(weight)].draw(r),
    log: (z, from = 0) => logSumExp(parts.map((p, c) => Math.log(weight[c]) + p.log(z, from))),
  };
}
