// One palette for groups, by day and by night, and one scale for numbers; both can be told apart by the colour-blind.

// Paul Tol's muted colours, as in the pictures of reports; by night the dark ones are lighter.
const DAY = ["#332288", "#CC6677", "#117733", "#88CCEE", "#DDCC77", "#882255", "#44AA99", "#999933", "#AA4499",
  "#EE7733", "#6699CC", "#661100"];
const NIGHT = ["#8C7BFF", "#E58593", "#3DAA5C", "#88CCEE", "#DDCC77", "#D0568F", "#55C4B1", "#B5B54A", "#CF6FC0",
  "#EE8A4B", "#6699CC", "#B3563D"];
const VIRIDIS = ["#440154", "#482878", "#3E4A89", "#31688E", "#26828E", "#1F9E89", "#35B779", "#6DCD59", "#B4DE2C",
  "#FDE725"];

export const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};
export const groups = () => (isDark() ? NIGHT : DAY);
export const rest = () => (isDark() ? "#585662" : "#c6c3cc");

export function rgb(hex) { return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)); }

export function scale(t) { // t in [0, 1] to red, green, blue
  const at = Math.min(1, Math.max(0, Number.isFinite(t) ? t : 0)) * (VIRIDIS.length - 1);
  const i = Math.min(VIRIDIS.length - 2, Math.floor(at)), a = rgb(VIRIDIS[i]), b = rgb(VIRIDIS[i + 1]);
  return a.map((v, k) => Math.round(v + (b[k] - v) * (at - i)));
}

export const hex = ([r, g, b]) => "#" + [r, g, b].map((v) => v.toString(16).padStart(2, "0")).join("");

export function ink(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); }
