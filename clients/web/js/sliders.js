// Sliders: the most active coordinates, each with a strip of decoded images, and the attributes. Of
// spatial latents and those of very many coordinates, the principal axes.

import { coordinate, figure, make } from "./dom.js";
import { latest } from "./latest.js";
import { imageAt } from "./pixels.js";

const SIGMAS = [-3, -2, -1, 0, 1, 2, 3];
const REACH = 3.5; // standard deviations in each direction: the images are at the ticks
const AT_FIRST = 8;
const MOST_COORDINATES = 64; // beyond, no coordinate means much by itself

/** @typedef {import("./app.js").App} App */
/** @typedef {{title: string, note: HTMLElement | null, middle: number, step: number,
 *   tick(steps: number): string, read(z: number[]): number, move(z: number[], value: number): number[]}} Dial */

const signed = (/** @type {number} */ x) => (x > 0 ? "+" : "−") + Math.abs(x);

/** @param {App} app @param {number} index @returns {Dial} */
function dimDial(app, index) {
  const dims = /** @type {any} */ (app.space).model.dims;
  const dim = dims[index], most = Math.max(0.1, ...dims.map((/** @type {any} */ u) => u.kl || 0));
  const live = dim && dim.std > 0.05;
  const note = dim?.kl >= 0 ? make("span.kl", { title: "KL(q(z|x) ‖ p(z)) of this coordinate, mean over the data" },
    make("meter", { min: 0, max: most, value: dim.kl }), `${dim.kl.toFixed(2)} nats`) : null;
  return {
    title: coordinate(index), note, middle: live ? dim.mean : 0, step: live ? dim.std : 1,
    tick: (sigma) => (sigma ? `${signed(sigma)}σ` : "μ"), read: (z) => z[index],
    move: (z, value) => z.map((x, i) => (i === index ? value : x)),
  };
}

/** @param {{vector: Float32Array, spread: number, middle: number}} axis @param {number} index @returns {Dial} */
function axisDial({ vector, spread, middle }, index) {
  const read = (/** @type {number[]} */ z) => z.reduce((sum, x, i) => sum + x * vector[i], 0);
  return {
    title: `axis ${index + 1}`, note: make("span.kl", { title: "standard deviation of the test set's means along this principal axis" }, `σ ${figure(spread, 2)}`),
    middle, step: spread || 1, tick: (sigma) => (sigma ? `${signed(sigma)}σ` : "μ"), read,
    move: (z, value) => { const by = value - read(z); return z.map((x, i) => x + by * vector[i]); },
  };
}

/** @param {import("./latents.js").Attribute} attribute @returns {Dial} */
function attributeDial({ name, direction }) {
  const square = direction.reduce((sum, x) => sum + x * x, 0) || 1;
  const read = (/** @type {number[]} */ z) => z.reduce((sum, x, i) => sum + x * direction[i], 0) / square;
  return {
    title: name, note: null, middle: 0, step: 1, tick: (times) => (times ? `${signed(times)}` : "0"), read,
    move: (z, value) => { const by = value - read(z); return z.map((x, i) => x + by * direction[i]); },
  };
}

export class Sliders {
  /** @param {HTMLElement} panel @param {App} app */
  constructor(panel, app) {
    this.panel = panel;
    this.app = app;
    this.all = false;
    /** @type {import("./app.js").Space | null} whose dials these are */ this.space = null;
    /** @type {{dial: Dial, input: HTMLInputElement, output: HTMLElement, frames: HTMLCanvasElement[], element: HTMLElement}[]} */
    this.rows = [];
    this.refilm = latest((/** @type {number[]} */ z) => this.film(z), app.trouble);
  }

  build() {
    const { space } = this.app;
    if (!space) return;
    this.space = space;
    const { dims, latentSize } = space.model;
    const order = Array.from({ length: latentSize }, (_, i) => i);
    const activity = (/** @type {number} */ i) => (dims[i].kl >= 0 ? dims[i].kl : dims[i].std);
    if (dims.length) order.sort((a, b) => activity(b) - activity(a));
    const many = space.model.spatial || latentSize > MOST_COORDINATES;
    const axes = many ? space.embeddings?.axes ?? [] : [];
    const shown = axes.length || this.all ? order.slice(0, MOST_COORDINATES) : order.slice(0, AT_FIRST);
    const coordinates = axes.length ? axes.map((axis, i) => this.row(axisDial(axis, i)))
      : shown.map((i) => this.row(dimDial(this.app, i)));
    const attributes = space.model.attributes.map((attribute) => this.row(attributeDial(attribute)));
    this.rows = [...coordinates, ...attributes];
    const more = !axes.length && order.length > shown.length && !this.all
      ? make("button.small", { onclick: () => { this.all = true; this.build(); } },
        `Show ${Math.min(MOST_COORDINATES, order.length) - shown.length} less active`) : null;
    const heading = attributes.length ? [make("h2.section", {}, "Attributes")] : [];
    const sorted = !axes.length && dims.length && latentSize > 1
      ? [make("p.quiet.order", {}, dims[0].kl >= 0 ? "The most active first, by their KL." : "The most active first, by their spread.")] : [];
    this.panel.replaceChildren(...sorted, ...coordinates.map((row) => row.element), ...(more ? [more] : []),
      ...heading, ...attributes.map((row) => row.element));
    this.follow();
  }

  /** @param {Dial} dial */
  row(dial) {
    const low = dial.middle - REACH * dial.step, high = dial.middle + REACH * dial.step;
    const input = make("input", { type: "range", min: low, max: high, step: (high - low) / 700, "aria-label": dial.title });
    const turn = (/** @type {number} */ value, /** @type {boolean} */ commit) =>
      this.app.store.set({ z: dial.move(this.app.store.state.z, value) }, commit);
    input.addEventListener("input", () => turn(Number(input.value), false));
    input.addEventListener("change", () => this.app.store.commit());
    const frames = SIGMAS.map(() => make("canvas"));
    const output = make("output");
    const stop = (/** @type {number} */ i) => make("button", {
      title: `${dial.title} = ${(dial.middle + SIGMAS[i] * dial.step).toFixed(2)}`, tabIndex: -1,
      onclick: () => turn(dial.middle + SIGMAS[i] * dial.step, true),
    }, frames[i]);
    const element = make("div.unit", {},
      make("header", {}, make("b", {}, dial.title), dial.note, output),
      make("div.film", {}, ...frames.map((_, i) => stop(i))),
      make("div.slide", {}, input),
      make("div.ticks", { "aria-hidden": "true" }, ...SIGMAS.map((s) => make("span", {}, dial.tick(s)))));
    return { dial, input, output, frames, element };
  }

  /** The point has moved. */
  follow() {
    const { z } = this.app.store.state;
    if (this.panel.hidden || !this.space || this.space !== this.app.space || z.length !== this.space.model.latentSize) return;
    for (const { dial, input, output } of this.rows) {
      const value = dial.read(z);
      input.value = String(value);
      output.textContent = (value < 0 ? "" : "+") + figure(value, 2);
    }
    this.refilm(z);
  }

  /** @param {number[]} z */
  async film(z) {
    const { space } = this.app, { rows } = this;
    if (!space || !rows.length) return;
    const points = rows.flatMap(({ dial }) =>
      SIGMAS.map((sigma) => dial.move(z, dial.middle + sigma * dial.step)));
    const images = await space.latents.decode(points.flat());
    if (rows !== this.rows) return;
    rows.forEach(({ frames }, row) => frames.forEach((frame, i) =>
      this.app.show(frame, imageAt(images, row * SIGMAS.length + i, space.model.imageShape))));
  }
}
