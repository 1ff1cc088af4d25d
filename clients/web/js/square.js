// Three or four pins as the corners of a square: every point in it is a mixture of them.

import { make } from "./dom.js";
import { latest } from "./latest.js";
import { imageAt, imageSize, toImageData } from "./pixels.js";
import { saveNpy, savePng } from "./save.js";

const CELLS = 9;

export class Square {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    this.canvas = make("canvas", { tabIndex: 0, id: "square", "aria-label": "The square of mixtures: click or drag in it" });
    this.badges = ["a", "b", "c", "d"].map((letter) => make(`span.badge.${letter}`, {}, letter.toUpperCase()));
    /** @type {{images: Uint8Array, latents: number[][]} | null} */ this.grid = null;
    this.asked = "";
    const shape = () => app.space?.model.imageShape ?? [1, 1, 1];
    this.element = make("div", { hidden: true },
      make("div.square", {}, this.canvas, ...this.badges),
      make("div.row", {}, make("span.stretch"), make("span.quiet", {}, "Save"),
        make("button.link", { id: "square-png", onclick: () => { if (this.grid) savePng(this.grid.images, shape(), CELLS, "square.png"); } }, "PNG"),
        make("button.link", { id: "square-npy", onclick: () => this.saveLatents() }, ".npy")));
    this.bindHand();
    this.fetch = latest(() => this.load(), app.trouble);
  }

  bindHand() {
    const to = (/** @type {PointerEvent} */ event) => {
      const box = this.canvas.getBoundingClientRect();
      const part = (/** @type {number} */ x) => Math.min(1, Math.max(0, x));
      const corner = /** @type {[number, number]} */ ([
        part((event.clientX - box.left) / box.width), part((event.clientY - box.top) / box.height)]);
      this.app.store.set({ corner, z: this.mixture(...corner) }, false);
    };
    this.canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => { this.canvas.setPointerCapture(event.pointerId); to(event); });
    this.canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => { if (event.buttons) to(event); });
    this.canvas.addEventListener("pointerup", () => this.app.store.commit());
    this.canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const corner = /** @type {[number, number]} */ (this.app.store.state.corner.map((x, i) => Math.min(1, Math.max(0, x + step[i] / 16))));
      this.app.store.set({ corner, z: this.mixture(...corner) });
    });
  }

  /** @returns {number[][]} four corners; of three pins the fourth is B + C − A */
  corners() {
    const [a, b, c, d] = this.app.store.state.pins.map((pin) => pin.z);
    return [a, b, c, d ?? a.map((_, i) => b[i] + c[i] - a[i])];
  }

  /** @param {number} x @param {number} y 0 to 1 each, from A's corner */
  mixture(x, y) {
    const [a, b, c, d] = this.corners();
    return a.map((_, i) => (a[i] * (1 - x) + b[i] * x) * (1 - y) + (c[i] * (1 - x) + d[i] * x) * y);
  }

  /** @param {boolean} open */
  follow(open) {
    this.element.hidden = !open;
    if (!open) { this.asked = ""; return; }
    this.badges[3].hidden = this.app.store.state.pins.length < 4;
    const wanted = JSON.stringify([this.app.store.state.label, this.corners()]);
    if (wanted !== this.asked) { this.asked = wanted; this.fetch(undefined); }
    this.draw();
  }

  async load() {
    const { space } = this.app;
    if (!space || this.app.store.state.pins.length < 3) return;
    const places = Array.from({ length: CELLS * CELLS }, (_, i) => [(i % CELLS) / (CELLS - 1), Math.floor(i / CELLS) / (CELLS - 1)]);
    const latents = places.map(([x, y]) => this.mixture(x, y));
    const images = await space.latents.decode(latents.flat());
    if (space === this.app.space) { this.grid = { images, latents }; this.draw(); }
  }

  draw() {
    const { space } = this.app, { grid, canvas } = this;
    if (!space || !grid || grid.images.length !== CELLS * CELLS * imageSize(space.model.imageShape)) return;
    const [, height, width] = space.model.imageShape;
    canvas.width = width * CELLS;
    canvas.height = height * CELLS;
    const context = canvas.getContext("2d");
    for (let i = 0; i < CELLS * CELLS; i++)
      context.putImageData(toImageData(imageAt(grid.images, i, space.model.imageShape), space.model.imageShape), (i % CELLS) * width, Math.floor(i / CELLS) * height);
    const [x, y] = this.app.store.state.corner;
    const spot = [(x * (CELLS - 1) + 0.5) * width, (y * (CELLS - 1) + 0.5) * height];
    context.beginPath();
    context.arc(spot[0], spot[1], width * 0.42, 0, 7);
    context.lineWidth = width / 9;
    context.strokeStyle = getComputedStyle(canvas).getPropertyValue("--point");
    context.stroke();
  }

  saveLatents() {
    const { space } = this.app;
    if (this.grid && space)
      saveNpy(Float32Array.from(this.grid.latents.flat()), [CELLS, CELLS, ...space.model.latentShape], "square.npy");
  }
}
