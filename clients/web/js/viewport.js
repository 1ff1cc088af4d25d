// The visible section of the map: conversions between latents and pixels, v upwards.

const NEAREST = 4000, FARTHEST = 4;

/** @typedef {import("./store.js").View} View */

export class Viewport {
  constructor() {
    this.width = 1;
    this.height = 1;
    /** @type {View} */ this.view = { x: 0, y: 0, scale: 60 };
  }

  /** @param {number} u @param {number} v @returns {[number, number]} */
  toScreen(u, v) {
    const { x, y, scale } = this.view;
    return [this.width / 2 + (u - x) * scale, this.height / 2 - (v - y) * scale];
  }

  /** @param {number} px @param {number} py @returns {[number, number]} */
  toPlane(px, py) {
    const { x, y, scale } = this.view;
    return [x + (px - this.width / 2) / scale, y - (py - this.height / 2) / scale];
  }

  /** @param {number} dx @param {number} dy pixels @returns {View} */
  panned(dx, dy) {
    const { x, y, scale } = this.view;
    return { x: x - dx / scale, y: y + dy / scale, scale };
  }

  /** Zooms around (px, py). @param {number} factor @param {number} px @param {number} py */
  zoomed(factor, px = this.width / 2, py = this.height / 2) {
    const scale = Math.min(NEAREST, Math.max(FARTHEST, this.view.scale * factor));
    const [u, v] = this.toPlane(px, py);
    return { x: u - (px - this.width / 2) / scale, y: v + (py - this.height / 2) / scale, scale };
  }

  /**
   * Shows the box of `points` less the outermost hundredth on each side, or the prior's three sigma.
   * @param {{u: Float32Array, v: Float32Array} | null} points @returns {View}
   */
  around(points) {
    const [left, right] = points?.u.length ? middleOf(points.u) : [-3, 3];
    const [low, high] = points?.v.length ? middleOf(points.v) : [-3, 3];
    const wide = Math.max(right - left, 1), tall = Math.max(high - low, 1);
    const scale = Math.min(this.width / (wide * 1.12), this.height / (tall * 1.12));
    return { x: (left + right) / 2, y: (low + high) / 2, scale: Math.max(FARTHEST, scale) };
  }
}

/** @param {Float32Array} values @returns {[number, number]} */
function middleOf(values) {
  const sorted = Float32Array.from(values).sort();
  const cut = Math.floor(sorted.length / 100);
  return [sorted[cut], sorted[sorted.length - 1 - cut]];
}
