// The map: draws the decoded grid, the test set's means, pins, path, posterior and the point.

import { fitted } from "./dom.js";
import { labelColour, token } from "./colours.js";
import { Tiles } from "./tiles.js";
import { Viewport } from "./viewport.js";
import { drawEllipse, drawHandle, drawPath, drawPin, drawRings } from "./marks.js";

/** @typedef {import("./app.js").App} App */

export const LETTERS = "ABCD";
const FADES = 4; // shades of dots by their distance from the plane

export class LatentMap {
  /** @param {HTMLCanvasElement} canvas @param {App} app */
  constructor(canvas, app) {
    this.canvas = canvas;
    this.app = app;
    this.port = new Viewport();
    /** @type {Tiles | null} */ this.tiles = null;
    /** @type {{u: Float32Array, v: Float32Array, away: Float32Array} | null} the dots, and how far each is from the plane */ this.dots = null;
    this.hover = -1;
    this.dragging = false;
    this.offset = ""; // what of the point the map does not show
    this.pending = 0;
    /** @type {Record<string, string>} */ this.colours = {};
    new ResizeObserver(() => this.invalidate()).observe(canvas);
  }

  /** Another model, or its test embeddings have come. */
  reset() {
    const space = this.app.space;
    if (!space) return;
    const decode = (/** @type {[number, number][]} */ points) => {
      const z = this.app.store.state.z;
      return space.latents.decode(points.flatMap(([u, v]) => space.plane.moved(z, u, v)));
    };
    this.tiles = new Tiles(space.model.imageShape, decode, () => this.invalidate(), this.app.trouble);
    this.dots = null;
    if (space.embeddings) {
      const { count } = space.embeddings;
      this.dots = { u: new Float32Array(count), v: new Float32Array(count), away: new Float32Array(count) };
      for (let item = 0; item < count; item++)
        [this.dots.u[item], this.dots.v[item]] = space.plane.project(space.embeddings.mean(item));
    }
    this.offset = "";
    this.invalidate();
  }

  /** The theme has changed. */
  recolour() {
    this.colours = Object.fromEntries(
      ["bg", "line", "line-strong", "text", "quiet", "point", "accent", "accent-deep", "surface"].map((name) => [name, token(name)]));
    this.tiles?.repaint();
    this.invalidate();
  }

  /** At once, so that what comes before the next frame goes on from here. @param {import("./store.js").View} view */
  lookAt(view) {
    this.port.view = view;
    this.app.store.set({ view }, false);
  }

  invalidate() {
    this.pending ||= requestAnimationFrame((now) => {
      this.pending = 0;
      this.draw(now);
    });
  }

  /** @param {number} now */
  draw(now) {
    const { context, width, height } = fitted(this.canvas);
    const { state } = this.app.store, { port } = this;
    port.width = width;
    port.height = height;
    port.view = state.view ?? port.around(this.dots);
    context.fillStyle = this.colours.bg;
    context.fillRect(0, 0, width, height);
    if (!this.app.space || !this.tiles) return;
    this.follow(state.z);
    if (state.tiles) {
      context.globalAlpha = state.dots && this.dots ? 0.5 : 0.92;
      if (this.tiles.draw(context, port, now)) this.invalidate();
      context.globalAlpha = 1;
    }
    if (this.app.space.model.latentSize === 2) drawRings(context, port, this.colours);
    if (state.dots) this.drawDots(context);
    this.drawMarks(context);
  }

  /** Tells the tiles when the plane through the point has moved. @param {number[]} z */
  follow(z) {
    const space = /** @type {NonNullable<App["space"]>} */ (this.app.space);
    if (space.model.latentSize <= 2) return;
    const offset = space.plane.offset(z).map((x) => x.toFixed(3)).join();
    if (offset !== this.offset) { this.tiles?.move(); this.measure(space, z); }
    this.offset = offset;
  }

  /** How far each dot is from the map's plane, from 0 to 1. @param {NonNullable<App["space"]>} space @param {number[]} z */
  measure(space, z) {
    const { embeddings } = space, { dots } = this;
    if (!embeddings || !dots) return;
    const here = space.plane.offset(z), far = Math.sqrt(space.model.latentSize - 2) * 2;
    for (let item = 0; item < embeddings.count; item++) {
      const there = space.plane.offset(embeddings.mean(item));
      dots.away[item] = Math.min(1, Math.hypot(...there.map((x, i) => x - here[i])) / far);
    }
  }

  /** @param {CanvasRenderingContext2D} context */
  drawDots(context) {
    const embeddings = this.app.space?.embeddings, { port, dots } = this;
    if (!embeddings || !dots) return;
    const { hidden } = this.app.store.state;
    const radius = Math.min(5, Math.max(2, port.view.scale / 42));
    const kinds = embeddings.kinds.length ? embeddings.kinds : [-1];
    // Off the plane, dots fade with their distance from it: the far ones are drawn first.
    for (let layer = FADES - 1; layer >= 0; layer--) kinds.forEach((kind, index) => {
      if (hidden.includes(kind)) return;
      context.beginPath();
      for (let item = 0; item < embeddings.count; item++) {
        if (embeddings.label(item) !== kind || Math.min(FADES - 1, Math.floor(dots.away[item] * FADES)) !== layer) continue;
        const [x, y] = port.toScreen(dots.u[item], dots.v[item]);
        if (x < -9 || y < -9 || x > port.width + 9 || y > port.height + 9) continue;
        context.moveTo(x + radius, y);
        context.arc(x, y, radius, 0, 7);
      }
      context.fillStyle = kind < 0 ? this.colours.accent : labelColour(index, kinds.length);
      context.globalAlpha = 0.86 - (0.62 * layer) / (FADES - 1);
      context.fill();
    });
    context.globalAlpha = 1;
    if (this.hover >= 0) this.ring(context, dots.u[this.hover], dots.v[this.hover], radius + 3);
  }

  /** @param {CanvasRenderingContext2D} context @param {number} u @param {number} v @param {number} radius */
  ring(context, u, v, radius) {
    const [x, y] = this.port.toScreen(u, v);
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.lineWidth = 2;
    context.strokeStyle = this.colours.text;
    context.stroke();
  }

  /** @param {CanvasRenderingContext2D} context */
  drawMarks(context) {
    const { app, port, colours } = this, space = /** @type {NonNullable<App["space"]>} */ (app.space);
    const at = (/** @type {ArrayLike<number>} */ z) => port.toScreen(...space.plane.project(z));
    const { z, pins } = app.store.state;
    if (app.path) drawPath(context, app.path.latents.map(at), app.path.leg, app.path.bead ? at(app.path.bead) : null, colours);
    if (app.posterior) {
      const { mean, logVar } = app.posterior;
      drawEllipse(context, at(mean), logVar && space.plane.ellipse(logVar), port.view.scale, colours);
    }
    pins.forEach((pin, index) => drawPin(context, at(pin.z), LETTERS[index], colours));
    drawHandle(context, at(z), this.dragging, colours);
  }

  /** The test image whose dot is within `reach` pixels. @param {number} x @param {number} y @param {number} reach */
  dotAt(x, y, reach) {
    const { hidden, dots: shown } = this.app.store.state, embeddings = this.app.space?.embeddings;
    if (!embeddings || !this.dots || !shown) return -1;
    let best = -1, least = reach ** 2;
    for (let item = 0; item < embeddings.count; item++) {
      const [px, py] = this.port.toScreen(this.dots.u[item], this.dots.v[item]);
      const square = (px - x) ** 2 + (py - y) ** 2;
      if (square < least && !hidden.includes(embeddings.label(item))) { best = item; least = square; }
    }
    return best;
  }
}
