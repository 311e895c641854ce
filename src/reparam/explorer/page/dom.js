// Elements, words for numbers, and files that are saved.

export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value === "boolean") element[name] = value;
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined));
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((c) => c !== null && c !== undefined));
  return element;
}

export const minus = (text) => text.replace("-", "\u2212");

export function number(value, digits = 2) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "\u2013";
  return minus((+value.toFixed(digits) || 0).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
}

// As many digits as tell: three, or a whole number as it is.
export function short(value) {
  if (!Number.isFinite(value)) return "\u2013";
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return minus(value.toLocaleString("en"));
  const a = Math.abs(value);
  return minus(a >= 1000 ? Math.round(value).toLocaleString("en") : a < 1e-3 && a > 0 ? value.toExponential(1)
    : String(+value.toPrecision(3)));
}

export function measured([value, error], unit = "nats") {
  const digits = error > 0 ? Math.min(4, Math.max(1, 1 - Math.floor(Math.log10(error)))) : 2;
  return error > 0 ? `${number(value, digits)} ± ${number(error, digits)} ${unit}` : `${number(value)} ${unit}`;
}

export const count = (n, thing) => `${n.toLocaleString("en")} ${thing}${n === 1 ? "" : "s"}`;

const SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉";
export const dimension = (j) => "z" + String(j + 1).replace(/\d/g, (d) => SUBSCRIPTS[d]);

export function say(text) { document.getElementById("said").textContent = text; }

export function later(wait, work) { // the last of many calls, once it is quiet
  let timer = 0;
  return (...given) => { clearTimeout(timer); timer = setTimeout(() => work(...given), wait); };
}

export function save(name, content, type) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

export function choice(label, options, value, changed) {
  const select = h("select", { onchange: () => changed(select.value) },
    options.map(([key, name]) => h("option", { value: key, selected: String(key) === String(value) }, name)));
  return h("label", { class: "choice" }, h("span", {}, label), select);
}

export function button(text, pressed, attributes = {}) {
  return h("button", { type: "button", onclick: pressed, ...attributes }, text);
}

export function explain(summary, ...content) {
  return h("details", { class: "word" }, h("summary", {}, summary), ...content.filter(Boolean).map((c) => h("p", {}, c)));
}
