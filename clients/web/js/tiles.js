// The decoded grid of the map: tiles of a pyramid whose spacing halves when zooming in. They are kept
// in slots of one sheet, and fetched from the middle outwards, the newest view first.

import { imageAt, put, toImageData } from "./pixels.js";

const SMALLEST = 30; // CSS pixels per tile, up to twice that
const SLOTS = 48; // per side of the sheet
const LARGEST = 64; // pixels per slot: larger images are reduced
const ROWS = 192; // tiles per call
const FADE = 160; // milliseconds
const COARSER = 6; // levels that may stand in for a missing tile

/**
 * @typedef {{slot: number, pixels: Uint8Array, born: number, plane: number, used: number,
 *   u: number, v: number}} Cell
 */

export class Tiles {
  /**
   * @param {number[]} shape of one image
   * @param {(points: [number, number][]) => Promise<Uint8Array>} decode images at map points
   * @param {() => void} changed @param {(error: unknown) => void} fail
   */
  constructor(shape, decode, changed, fail) {
    this.shape = shape; this.decode = decode; this.changed = changed; this.fail = fail;
    const shrink = Math.min(1, LARGEST / Math.max(shape[1], shape[2]));
    this.wide = Math.max(1, Math.round(shape[2] * shrink));
    this.tall = Math.max(1, Math.round(shape[1] * shrink));
    this.sheet = document.createElement("canvas");
    this.sheet.width = SLOTS * this.wide;
    this.sheet.height = SLOTS * this.tall;
    this.context = /** @type {CanvasRenderingContext2D} */ (this.sheet.getContext("2d"));
    this.proof = document.createElement("canvas"); // one image at its own size
    /** @type {Map<string, Cell>} */ this.cells = new Map();
    this.free = Array.from({ length: SLOTS * SLOTS }, (_, i) => SLOTS * SLOTS - 1 - i);
    this.plane = 0;
    this.turn = 0;
    this.busy = false;
    /** @type {{key: string, u: number, v: number}[]} */ this.wanted = [];
    this.rest = 0;
  }

  /** The map's plane has moved: tiles stay until the new ones arrive. */
  move() {
    this.plane++;
  }

  /** The colours of the theme have changed. */
  repaint() {
    for (const cell of this.cells.values()) this.paint(cell);
  }

  /** @param {Cell} cell */
  paint(cell) {
    const { wide, tall } = this, [x, y] = this.corner(cell);
    put(this.proof, toImageData(cell.pixels, this.shape));
    this.context.clearRect(x, y, wide, tall);
    this.context.drawImage(this.proof, x, y, wide, tall);
  }

  /** @param {Cell} cell @returns {[number, number]} its place on the sheet */
  corner(cell) {
    return [(cell.slot % SLOTS) * this.wide, Math.floor(cell.slot / SLOTS) * this.tall];
  }

  /** The tiles that a viewport needs. @param {import("./viewport.js").Viewport} port */
  grid(port) {
    const level = Math.ceil(Math.log2(SMALLEST / port.view.scale));
    const step = 2 ** level;
    const [left, top] = port.toPlane(0, 0), [right, bottom] = port.toPlane(port.width, port.height);
    const out = [];
    for (let j = Math.floor(bottom / step); j <= Math.floor(top / step); j++)
      for (let i = Math.floor(left / step); i <= Math.floor(right / step); i++)
        out.push({ key: `${level}:${i}:${j}`, level, i, j, u: (i + 0.5) * step, v: (j + 0.5) * step });
    return { step, cells: out };
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {import("./viewport.js").Viewport} port
   * @param {number} now @returns {boolean} whether it is still fading in
   */
  draw(context, port, now) {
    const { step, cells } = this.grid(port);
    this.turn++;
    const missing = cells.filter(({ key }) => this.cells.get(key)?.plane !== this.plane);
    this.drawUnder(context, port, missing, step, now);
    let fading = false;
    for (const { key } of cells) fading = this.drawCell(context, port, key, step, now) || fading;
    this.want(missing, port);
    return fading;
  }

  /**
   * Coarser tiles where finer ones are missing, so that no part of the map is ever bare.
   * @param {CanvasRenderingContext2D} context @param {import("./viewport.js").Viewport} port
   * @param {{level: number, i: number, j: number}[]} missing @param {number} step @param {number} now
   */
  drawUnder(context, port, missing, step, now) {
    /** @type {Map<string, number>} */ const found = new Map();
    for (const { level, i, j } of missing)
      for (let up = 1; up <= COARSER; up++) {
        const key = `${level + up}:${i >> up}:${j >> up}`;
        if (this.cells.has(key)) { found.set(key, up); break; }
      }
    const coarsestFirst = [...found].sort(([, a], [, b]) => b - a);
    for (const [key, up] of coarsestFirst) this.drawCell(context, port, key, step * 2 ** up, now);
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {import("./viewport.js").Viewport} port
   * @param {string} key @param {number} step @param {number} now
   */
  drawCell(context, port, key, step, now) {
    const cell = this.cells.get(key);
    if (!cell) return false;
    cell.used = this.turn;
    const age = (now - cell.born) / FADE;
    const { wide, tall } = this, [left, top] = this.corner(cell);
    const zoom = (step * port.view.scale) / Math.max(wide, tall);
    const [x, y] = port.toScreen(cell.u, cell.v);
    const alpha = context.globalAlpha;
    context.globalAlpha = alpha * Math.min(1, Math.max(0, age));
    context.drawImage(this.sheet, left, top, wide, tall,
      x - (wide * zoom) / 2, y - (tall * zoom) / 2, wide * zoom, tall * zoom);
    context.globalAlpha = alpha;
    return age < 1;
  }

  /**
   * @param {{key: string, u: number, v: number}[]} cells @param {import("./viewport.js").Viewport} port
   */
  want(cells, port) {
    const { x, y } = port.view;
    const far = (/** @type {{u: number, v: number}} */ cell) => (cell.u - x) ** 2 + (cell.v - y) ** 2;
    this.wanted = cells.sort((a, b) => far(a) - far(b));
    if (!this.busy && this.wanted.length && performance.now() >= this.rest) this.fetch();
  }

  async fetch() {
    this.busy = true;
    const batch = this.wanted.slice(0, ROWS), plane = this.plane;
    try {
      const images = await this.decode(batch.map(({ u, v }) => [u, v]));
      batch.forEach((cell, row) => this.keep(cell, imageAt(images, row, this.shape), plane));
    } catch (error) {
      this.rest = performance.now() + 2000;
      this.fail(error);
    }
    this.busy = false;
    this.changed();
  }

  /** @param {{key: string, u: number, v: number}} want @param {Uint8Array} pixels @param {number} plane */
  keep({ key, u, v }, pixels, plane) {
    const old = this.cells.get(key);
    const slot = old?.slot ?? this.free.pop() ?? this.evict();
    const born = old?.born ?? performance.now();
    const cell = { slot, pixels, plane, born, used: this.turn, u, v };
    this.cells.set(key, cell);
    this.paint(cell);
  }

  /** @returns {number} the slot of the tile that was longest out of sight */
  evict() {
    let oldest = "", when = Infinity;
    for (const [key, cell] of this.cells)
      if (cell.used < when) { oldest = key; when = cell.used; }
    const slot = /** @type {Cell} */ (this.cells.get(oldest)).slot;
    this.cells.delete(oldest);
    return slot;
  }
}
