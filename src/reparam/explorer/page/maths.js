// Special functions to double precision, and random numbers that a seed decides.

export const LOG_2PI = Math.log(2 * Math.PI);

export function erf(x) {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) { // e^{-x²} Σ 2^n x^{2n+1} / (2n+1)!!: every term is positive, nothing cancels
    let term = a, sum = a;
    for (let n = 1; n < 200 && term > sum * 1e-17; n++) { term *= (2 * a * a) / (2 * n + 1); sum += term; }
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * Math.exp(-a * a) * sum;
  }
  let f = a; // the continued fraction of erfc, from its far end
  for (let k = 60; k > 0; k--) f = a + k / 2 / f;
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * f));
}

export function lgamma(x) {
  if (x < 10) { // upward to where Stirling's series holds to rounding
    let product = 1;
    while (x < 10) product *= x++;
    return lgamma(x) - Math.log(product);
  }
  const y = 1 / (x * x);
  const series = (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188)))) / x;
  return (x - 0.5) * Math.log(x) - x + LOG_2PI / 2 + series;
}

export const logFactorial = (k) => (k < 2 ? 0 : lgamma(k + 1));
export const sigmoid = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));
export const softplus = (x) => (x > 0 ? x + Math.log1p(Math.exp(-x)) : Math.log1p(Math.exp(x)));
export const logSigmoid = (x) => -softplus(-x);

// The identity up to the limit, then a smooth approach to limit + margin: reparam.numerics.soft_clip.
export function softClip(x, limit, margin) {
  const excess = Math.max(0, Math.abs(x) - limit);
  return Math.min(limit, Math.max(-limit, x)) + (Math.sign(x) * excess) / (1 + excess / margin);
}

const LIMIT = Math.log(1e6), MARGIN = Math.log(10);
export const scaleFromLog = (x) => Math.exp(softClip(x, LIMIT, MARGIN));
export const boundedLogRate = (x) => softClip(x, 20, 5);

export function logSumExp(values) {
  let top = -Infinity, sum = 0;
  for (const v of values) if (v > top) top = v;
  if (top === -Infinity) return top;
  for (const v of values) sum += Math.exp(v - top);
  return top + Math.log(sum);
}

// The quantile of N(0, 1): Newton's steps by erf from a rational start (Abramowitz & Stegun 26.2.23).
export function normalQuantile(p) {
  if (p <= 0) return -Infinity;
  if (p >= 1) return Infinity;
  if (p > 0.5) return -normalQuantile(1 - p);
  const t = Math.sqrt(-2 * Math.log(p));
  let x = -(t - (2.515517 + 0.802853 * t + 0.010328 * t * t) / (1 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t ** 3));
  for (let i = 0; i < 3; i++) {
    const density = Math.exp(-x * x / 2 - LOG_2PI / 2);
    if (density > 1e-300) x -= (0.5 * (1 + erf(x / Math.SQRT2)) - p) / density;
  }
  return x;
}

export class Random { // sfc32, a small counted generator
  constructor(seed = 0) {
    [this.a, this.b, this.c, this.d] = [0, seed | 0, 0x9e3779b9, 1];
    for (let i = 0; i < 15; i++) this.bits();
    this.spare = null;
  }
  bits() {
    const t = (this.a + this.b + this.d) | 0;
    this.d = (this.d + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = ((this.c << 21) | (this.c >>> 11)) + t | 0;
    return t >>> 0;
  }
  uniform() { return (this.bits() + 0.5) / 4294967296; } // strictly between 0 and 1
  normal() {
    if (this.spare !== null) { const s = this.spare; this.spare = null; return s; }
    const r = Math.sqrt(-2 * Math.log(this.uniform())), a = 2 * Math.PI * this.uniform();
    this.spare = r * Math.sin(a);
    return r * Math.cos(a);
  }
  logGamma(shape) { // log of a Gamma(shape, 1): Marsaglia & Tsang, in logs since small shapes underflow
    if (shape < 1) return this.logGamma(shape + 1) + Math.log(this.uniform()) / shape;
    const d = shape - 1 / 3, c = 1 / Math.sqrt(9 * d);
    for (;;) {
      const x = this.normal(), v = (1 + c * x) ** 3;
      if (v > 0 && Math.log(this.uniform()) < x * x / 2 + d * (1 - v + Math.log(v))) return Math.log(d * v);
    }
  }
  poisson(rate) {
    let count = 0;
    while (rate > 30) { // n-th arrival: a Gamma, and what is left of the time
      const n = Math.floor(rate * 7 / 8), at = Math.exp(this.logGamma(n));
      if (at > rate) return count + this.binomial(n - 1, rate / at);
      count += n; rate -= at;
    }
    let product = this.uniform();
    for (const end = Math.exp(-rate); product > end; count++) product *= this.uniform();
    return count;
  }
  binomial(n, p) {
    let count = 0;
    while (n > 50) { // the middle of n uniforms is a Beta: go on in the half that holds p
      const i = Math.floor(n / 2) + 1, a = this.logGamma(i), b = this.logGamma(n + 1 - i);
      const middle = 1 / (1 + Math.exp(b - a));
      if (middle <= p) { count += i; n -= i; p = (p - middle) / (1 - middle); } else { n = i - 1; p /= middle; }
    }
    for (let i = 0; i < n; i++) if (this.uniform() < p) count++;
    return count;
  }
  choose(probabilities) {
    let u = this.uniform();
    for (let i = 0; i < probabilities.length - 1; i++) { u -= probabilities[i]; if (u < 0) return i; }
    return probabilities.length - 1;
  }
}
