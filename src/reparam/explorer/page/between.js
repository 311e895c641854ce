// A point between its nearest ones: how places of a UMAP, which has no formula, go with codes, in both directions.

// Of n points in ``wide`` dimensions the nearest k, and their values (``deep`` each) in a mean that is exact at each
// point and has no steps where the nearest ones change: Franke & Little's weights, zero from the next point on.
export function blended(at, points, wide, values, deep, k = 6) {
  const n = points.length / wide, best = [], out = new Float64Array(deep);
  let limit = Infinity;
  for (let i = 0; i < n; i++) {
    let d = 0;
    for (let j = 0, p = i * wide; j < wide && d < limit; j++) d += (points[p + j] - at[j]) ** 2;
    if (d >= limit) continue;
    best.push([d, i]);
    best.sort((a, b) => a[0] - b[0]);
    if (best.length > k + 1) best.pop();
    if (best.length > k) limit = best[k][0];
  }
  const end = Math.sqrt(best[best.length - 1][0]);
  let weights = best.map(([d]) => (d === 0 ? Infinity : Math.max(0, 1 / Math.sqrt(d) - 1 / end) ** 2));
  if (weights.includes(Infinity)) weights = weights.map((w) => +(w === Infinity));
  let sum = weights.reduce((a, b) => a + b, 0);
  if (!(sum > 0)) { weights = weights.map(() => 1); sum = weights.length; }
  best.forEach(([, i], m) => { for (let j = 0; j < deep; j++) out[j] += weights[m] / sum * values[i * deep + j]; });
  return out;
}
