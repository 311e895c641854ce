// The columns of a table: between the numbers that the model reads, their units, and words. NaN is a missing cell.
import { short } from "./dom.js";

const logistic = (t) => 1 / (1 + Math.exp(-t));

export function inUnits(c, y) { // a number of the model in the units of its column: reparam.data.columns.Column.raw
  if (!c.kind || c.classes || c.kind === "count") return y;
  const t = c.loc + c.spread * y, [low, high] = c.ends;
  if (c.kind === "positive") return low + Math.exp(t);
  return c.kind === "proportion" ? low + (high - low) * logistic(t) : t;
}

function ofUnits(c, v) {
  if (!c.kind || c.kind === "count") return v;
  const [low, high] = c.ends;
  const t = c.kind === "positive" ? Math.log(v - low) : c.kind === "proportion" ? Math.log(v - low) - Math.log(high - v) : v;
  return (t - c.loc) / c.spread;
}

export function fitting(c, v) { // rounded and bounded as the column is, which a draw must be
  if (!c.kind || c.classes) return v;
  const [low, high] = c.bounds, rounded = c.step ? +(Math.round(v / c.step) * c.step).toPrecision(12) : v;
  return Math.min(high === null ? Infinity : high, Math.max(low === null ? -Infinity : low, rounded));
}

export function logUnits(columns, y) { // what a log density gains from the model's units to those of what is seen
  return columns.reduce((sum, c, j) => {
    if (!c.kind || c.classes || c.kind === "count" || Number.isNaN(y[j])) return sum;
    const t = c.loc + c.spread * y[j], [low, high] = c.ends;
    const slope = c.kind === "positive" ? -t
      : c.kind === "proportion" ? Math.log1p(Math.exp(-Math.abs(t))) * 2 + Math.abs(t) - Math.log(high - low) : 0;
    return sum + slope - Math.log(c.spread);
  }, 0);
}

const day = (seconds, step) => new Date(seconds * 1000).toISOString().slice(0, step >= 86400 ? 10 : 16).replace("T", " ");

export const className = (c, k) => (c.names && c.names.length ? c.names[k] : `class ${k}`);

export function word(c, v) { // a value in units as words, or the name of a class
  if (!Number.isFinite(v)) return "\u2013";
  if (c.classes) return className(c, Math.min(c.classes - 1, Math.max(0, Math.round(v))));
  return c.kind === "datetime" ? day(v, c.step) : short(v);
}

export function plainCell(c, y) { // a cell as a file has it
  if (Number.isNaN(y)) return "";
  if (c.classes) return c.names && c.names.length ? c.names[y] : String(y);
  const v = fitting(c, inUnits(c, y));
  return c.kind === "datetime" ? new Date(v * 1000).toISOString().slice(0, c.step >= 86400 ? 10 : 19) : String(c.step ? v : +v.toPrecision(7));
}

const MISSING = ["", "na", "n/a", "nan", "?", "-", "null", "none", "missing"];

export function readCell(c, text) { // the model's number; an error in words
  const cell = text.trim();
  if (c.classes && c.names && c.names.includes(cell)) return c.names.indexOf(cell);
  if (c.kind && MISSING.includes(cell.toLowerCase())) return NaN;
  if (c.classes && c.names && c.names.length) throw new Error(`${c.name}: "${cell}" is none of ${c.names.slice(0, 8).join(", ")}`);
  const v = c.kind === "datetime" && !/^-?[\d.]+$/.test(cell) ? Date.parse(/\d:\d/.test(cell) ? `${cell}Z` : cell) / 1000 : cell === "" ? NaN : Number(cell);
  if (!Number.isFinite(v)) throw new Error(`${c.name}: "${cell}" is no ${c.kind === "datetime" ? "date" : "number"}`);
  const y = ofUnits(c, v);
  if (!Number.isFinite(y) || (c.whole && c.kind && (v < 0 || v !== Math.round(v)))) throw new Error(`${c.name}: ${cell} is outside of what the column can hold`);
  if (c.classes && !(Number.isInteger(v) && v >= 0 && v < c.classes)) throw new Error(`${c.name}: ${cell} is no class from 0 to ${c.classes - 1}`);
  return y;
}
