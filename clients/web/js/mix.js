// The Mix tab: lines and arcs through the pins with a scrubber, or the corners of a square.

import { make, press } from "./dom.js";
import { latest } from "./latest.js";
import { imageAt, imageSize } from "./pixels.js";
import { saveGif, saveNpy, savePng } from "./save.js";
import { Square } from "./square.js";

const STEPS = 16; // between two pins, both included
const REEL = 9;
const SECONDS = 3; // to play the path once

/** @typedef {import("./app.js").App} App */

export class Mix {
  /** @param {HTMLElement} panel @param {App} app */
  constructor(panel, app) {
    this.panel = panel;
    this.app = app;
    /** @type {{images: Uint8Array, latents: Float32Array, count: number} | null} */ this.path = null;
    this.playing = 0;
    this.asked = "";
    this.word = make("p.word");
    this.shapes = ["line", "arc", "square"].map((shape) => make("button", {
      id: `shape-${shape}`, onclick: () => app.store.set({ shape: /** @type {any} */ (shape) }) }, { line: "Line", arc: "Arc", square: "Square" }[shape] ?? ""));
    this.big = make("canvas.picture.big", { "aria-label": "The image on the path" });
    this.reel = make("div.reel", { "aria-hidden": "true" });
    this.scrubber = make("input", { type: "range", min: 0, max: 1, step: 0.001, id: "scrubber", "aria-label": "Along the path" });
    this.play = make("button", { id: "play", title: "Play (Space)", onclick: () => this.toggle() }, "Play");
    this.square = new Square(app);
    this.line = make("div.path", {}, this.big, this.scrubber, this.reel, this.tools());
    panel.append(make("div.segments", { role: "group", "aria-label": "Kind" }, ...this.shapes), this.word, this.line, this.square.element);
    this.scrubber.addEventListener("input", () => app.store.set({ t: Number(this.scrubber.value) }, false));
    this.scrubber.addEventListener("change", () => app.store.commit());
    this.walk = latest(() => this.fetch(), app.trouble);
  }

  tools() {
    const shape = () => this.app.space?.model.imageShape ?? [1, 1, 1];
    const link = (/** @type {string} */ text, /** @type {string} */ id, /** @type {(path: NonNullable<Mix["path"]>) => void} */ work) =>
      make("button.link", { id, onclick: () => { if (this.path) work(this.path); } }, text);
    return make("div.row.apart", {},
      make("div.row", {}, this.play,
        make("button", { id: "path-here", title: "Move the point to this place on the path", onclick: () => this.goHere() }, "Go there")),
      make("div.row.saves", {}, make("span.quiet", {}, "Save"),
      link("PNG", "path-png", ({ images, count }) => savePng(images, shape(), count, "path.png")),
      link("GIF", "path-gif", ({ images }) => saveGif(images, shape(), "path.gif")),
      link(".npy", "path-npy", ({ latents, count }) =>
        saveNpy(latents, [count, .../** @type {any} */ (this.app.space).model.latentShape], "path.npy"))));
  }

  /** The state has changed. */
  follow() {
    const { app } = this, { pins, shape, t } = app.store.state;
    this.shapes.forEach((button, i) => press(button, ["line", "arc", "square"][i] === shape));
    const open = !this.panel.hidden && Boolean(app.space);
    const few = pins.length < (shape === "square" ? 3 : 2);
    this.word.hidden = !few;
    this.word.textContent = shape === "square"
      ? "Pin three or four images to mix them on a square; of three, the fourth corner completes the parallelogram."
      : "Pin two to four images (double-click the map, or press P) to see the path between them.";
    this.line.hidden = few || shape === "square";
    this.square.follow(open && !few && shape === "square");
    if (this.line.hidden || !open) { this.stop(); this.asked = ""; this.path = null; this.mark(); return; }
    this.scrubber.value = String(t);
    const wanted = JSON.stringify([pins.map((pin) => pin.z), shape, app.store.state.label, app.space?.model.name, app.space?.model.version]);
    if (wanted !== this.asked) { this.asked = wanted; this.walk(undefined); }
    this.showFrame();
  }

  async fetch() {
    const { space, store } = this.app, { pins, shape } = store.state;
    if (!space || pins.length < 2) return;
    const starts = pins.slice(0, -1).flatMap((pin) => pin.z), ends = pins.slice(1).flatMap((pin) => pin.z);
    const { images, latents } = await space.latents.interpolate(starts, ends, STEPS, shape === "arc");
    if (space !== this.app.space) return;
    const size = imageSize(space.model.imageShape);
    this.path = joined(images, latents, size, space.model.latentSize, pins.length - 1);
    this.showReel();
    this.showFrame();
  }

  showReel() {
    const { space } = this.app, { path } = this;
    if (!space || !path) return;
    this.reel.replaceChildren(...Array.from({ length: REEL }, (_, i) => {
      const canvas = make("canvas"), row = Math.round((i / (REEL - 1)) * (path.count - 1));
      this.app.show(canvas, imageAt(path.images, row, space.model.imageShape));
      return canvas;
    }));
  }

  /** The colours of the theme have changed. */
  repaint() {
    this.showReel();
    this.showFrame();
    this.square.draw();
  }

  get row() { return Math.round(this.app.store.state.t * ((this.path?.count ?? 1) - 1)); }

  /** @returns {number[]} */
  latentHere() {
    const size = this.app.space?.model.latentSize ?? 0;
    return Array.from(this.path?.latents.subarray(this.row * size, (this.row + 1) * size) ?? []);
  }

  showFrame() {
    const { space } = this.app;
    if (this.path && space) this.app.show(this.big, imageAt(this.path.images, this.row, space.model.imageShape));
    this.mark();
  }

  mark() {
    const { path } = this, size = this.app.space?.model.latentSize ?? 1;
    this.app.path = path && {
      latents: Array.from({ length: path.count }, (_, row) => path.latents.subarray(row * size, (row + 1) * size)),
      leg: STEPS - 1,
      bead: this.latentHere(),
    };
    this.app.redraw();
  }

  goHere() {
    if (this.path) this.app.store.set({ z: this.latentHere() });
  }

  toggle() {
    if (this.playing) { this.stop(); return; }
    if (!this.path) return;
    this.play.textContent = "Stop";
    const from = performance.now() - this.app.store.state.t * SECONDS * 1000;
    const turn = (/** @type {number} */ now) => {
      const phase = ((now - from) / (SECONDS * 1000)) % 2;
      this.app.store.set({ t: Math.max(0, phase > 1 ? 2 - phase : phase) }, false);
      if (this.playing) this.playing = requestAnimationFrame(turn);
    };
    this.playing = requestAnimationFrame(turn);
  }

  stop() {
    if (!this.playing) return;
    cancelAnimationFrame(this.playing);
    this.playing = 0;
    this.play.textContent = "Play";
  }
}

/** Legs to one path: a leg's first point is the end of the one before. @param {Uint8Array} images
 * @param {Float32Array} latents @param {number} pixels @param {number} size @param {number} legs */
function joined(images, latents, pixels, size, legs) {
  const rows = Array.from({ length: legs * STEPS }, (_, row) => row).filter((row) => row === 0 || row % STEPS);
  const count = rows.length;
  const out = { images: new Uint8Array(count * pixels), latents: new Float32Array(count * size), count };
  rows.forEach((row, to) => {
    out.images.set(images.subarray(row * pixels, (row + 1) * pixels), to * pixels);
    out.latents.set(latents.subarray(row * size, (row + 1) * size), to * size);
  });
  return out;
}
