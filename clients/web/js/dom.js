// The page's elements, found or made.

/** @param {string} id @returns {any} */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element ${id}`);
  return found;
}

/**
 * make("button.small", {title: "…", onclick}, "Text", child)
 * @param {string} kind tag and classes @param {Record<string, any>} [props] properties, or
 * attributes where the name has a dash or is `role` @param {(Node | string | null)[]} children
 * @returns {any}
 */
export function make(kind, props = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  element.classList.add(...classes);
  for (const [name, value] of Object.entries(props)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else Object.assign(element, { [name]: value });
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** @param {HTMLElement} button @param {boolean} on */
export const press = (button, on) => button.setAttribute("aria-pressed", String(on));

/** A canvas's context, its backing sized to its box and the screen. @param {HTMLCanvasElement} canvas */
export function fitted(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

/** A number as it is set in text, with a minus sign. @param {number} x @param {number} digits */
export const figure = (x, digits) => x.toFixed(digits).replace("-", "−");

const SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉";
/** @param {number} index from 0 */
export const coordinate = (index) =>
  "z" + [...String(index + 1)].map((digit) => SUBSCRIPTS[Number(digit)]).join("");
