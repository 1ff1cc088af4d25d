// Colours of the labels and of the theme.

const TEN = ["#5b8cff", "#ff9345", "#35c07a", "#f0566a", "#a97bff", "#b98548", "#f27cc0", "#8d99ad", "#c9bb3a", "#2cc0d4"];

/** @param {number} index @param {number} count */
export function labelColour(index, count) {
  if (count <= TEN.length) return TEN[index];
  return `hsl(${Math.round((index * 360) / count)} ${index % 2 ? 60 : 80}% ${index % 3 ? 60 : 50}%)`;
}

/** @param {string} name a custom property of tokens.css, without its dashes */
export const token = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const KEY = "latens-theme";
const light = matchMedia("(prefers-color-scheme: light)");

/** @param {() => void} changed called after each change of the theme */
export function theme(changed) {
  const apply = () => {
    document.documentElement.dataset.theme = localStorage.getItem(KEY) ?? (light.matches ? "light" : "dark");
    changed();
  };
  light.addEventListener("change", apply);
  apply();
  return () => {
    localStorage.setItem(KEY, document.documentElement.dataset.theme === "light" ? "dark" : "light");
    apply();
  };
}
