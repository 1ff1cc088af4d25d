// The Image tab: an image's posterior, reconstruction, error and score; a mask and its filling.

import { figure, make, press } from "./dom.js";
import { DrawingCanvas } from "./drawing-canvas.js";
import { Filling } from "./filling.js";
import { Splicing } from "./splicing.js";
import { latest } from "./latest.js";
import { distance, errorMap, put } from "./pixels.js";
import { fromBase64, toBase64 } from "./tensor.js";

const LARGEST_IN_LINK = 1 << 16; // most bytes of an image in the state, and so in a link

/** @typedef {import("./app.js").App} App */
/** @typedef {import("./drawing-canvas.js").Brush} Brush */

export class ImagePanel {
  /** @param {HTMLElement} panel @param {App} app */
  constructor(panel, app) {
    this.panel = panel;
    this.app = app;
    this.paper = make("div.paper");
    this.drawing = new DrawingCanvas(this.paper, (done) => this.touched(done), app.trouble);
    this.views = ["Image", "Reconstruction", "Error"].map((name) => ({ name, canvas: make("canvas", { "aria-label": name }) }));
    this.verdict = make("dl.verdict");
    this.result = make("div", { hidden: true }, this.trio(), this.verdict, this.moves());
    this.filling = new Filling(app, this.drawing);
    this.splicing = new Splicing(app, this.drawing);
    this.brushes = this.makeBrushes();
    panel.append(make("div.drawing", {}, this.paper, make("div.column", {}, this.brushes, ...this.sources())), this.result, this.filling.element, this.splicing.element);
    this.judge = latest((/** @type {boolean} */ done) => this.look(done), app.trouble);
    /** @type {string | null} what of the state is on the paper */ this.known = null;
    document.addEventListener("paste", (event) => this.paste(event));
  }

  makeBrushes() {
    const names = /** @type {[Brush, string, string][]} */ ([
      ["draw", "Draw", "Ink"], ["erase", "Erase", "Removes ink and mask"], ["mask", "Mask", "Pixels to fill in"]]);
    const buttons = names.map(([brush, text, title]) => make("button", { title, "aria-pressed": String(brush === "draw"), id: `brush-${brush}`,
      onclick: () => { this.drawing.brush = brush; buttons.forEach((button, i) => press(button, names[i][0] === brush)); } }, text));
    const clear = make("button", { title: "An empty paper", id: "clear", onclick: () => this.clear() }, "Clear");
    return make("div.brushes", { role: "group", "aria-label": "Brush" }, ...buttons, clear);
  }

  sources() {
    const input = make("input", { type: "file", accept: "image/*", id: "file" });
    input.addEventListener("change", () => { this.drawing.take(input.files?.[0]); input.value = ""; });
    this.random = make("button.small", { id: "test-image", title: "An image that the model was not trained on", onclick: () => this.takeTest() }, "Test image");
    return [
      make("label.file", { title: "Choose a picture" }, "Open…", input), this.random,
      make("button.small", { onclick: () => this.drawing.invert(), title: "Swap light and dark" }, "Invert"),
    ];
  }

  trio() {
    const [image, output, error] = this.views.map(({ name, canvas }) => make("figure", {}, canvas, make("figcaption", {}, name)));
    error.append(make("div.scale", { title: "blue: missing; red: added" }));
    return make("div.trio", {}, image, output, error);
  }

  moves() {
    const there = () => this.app.posterior && Array.from(this.app.posterior.mean);
    return make("div.row", {},
      make("button.primary", { id: "go-there", title: "Move the point to the posterior's mean", onclick: () => { const z = there(); if (z) this.app.store.set({ z }); } }, "Go there"),
      make("button", { id: "pin-image", onclick: () => { const z = there(); if (z) this.app.pin({ z }); } }, "Pin"));
  }

  /** Another model, or its test embeddings. */
  build() {
    const { space } = this.app;
    if (!space) return;
    this.random.hidden = !space.embeddings;
    this.known = null;
    this.follow();
  }

  /** The state was changed outside of this tab: undo, a link, another model. */
  follow() {
    const { image, mask } = this.app.store.state, { space } = this.app;
    if (!space || image + mask === this.known) return;
    this.known = image + mask;
    this.drawing.set(space.model.imageShape, image ? fromBase64(image) : null, mask ? fromBase64(mask) : null);
    this.judge(true);
  }

  /** The colours of the theme have changed. */
  repaint() {
    this.drawing.show();
    this.judge(true);
  }

  /** @param {boolean} done */
  touched(done) {
    if (done) this.remember();
    this.judge(done);
  }

  remember() {
    const { drawing } = this, small = drawing.pixels.length <= LARGEST_IN_LINK;
    const image = drawing.empty || !small ? "" : toBase64(drawing.pixels);
    const mask = drawing.masked && small ? toBase64(drawing.mask) : "";
    this.known = image + mask;
    this.app.store.set({ image, mask });
  }

  clear() {
    this.drawing.set(this.drawing.shape, null, null);
    this.touched(true);
  }

  takeTest() {
    const { space } = this.app;
    if (!space?.embeddings?.images) return;
    const item = Math.floor(Math.random() * space.embeddings.count), label = space.embeddings.label(item);
    if (label >= 0 && label < space.model.labelCount) this.app.store.set({ label }, false);
    this.drawing.set(space.model.imageShape, space.embeddings.image(item, space.model.imageShape), null);
    this.touched(true);
  }

  /** @param {ClipboardEvent} event */
  paste(event) {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (!file) return;
    this.app.store.set({ panel: "image" }, false);
    this.drawing.take(file);
  }

  /** Encodes what is on the paper. @param {boolean} done the hand is off: score it too */
  async look(done) {
    const { app, drawing } = this, { space } = app;
    this.filling.follow();
    this.splicing.follow();
    this.result.hidden = drawing.empty;
    if (!space) return;
    if (drawing.empty) { app.posterior = null; app.redraw(); return; }
    const pixels = drawing.pixels.slice(), shape = drawing.shape;
    const posterior = await space.latents.encode(pixels);
    const output = await space.latents.decode(posterior.mean);
    if (space !== app.space) return;
    app.posterior = posterior;
    app.redraw();
    app.show(this.views[0].canvas, pixels);
    app.show(this.views[1].canvas, output);
    put(this.views[2].canvas, errorMap(pixels, output, shape));
    const facts = [["error", `${distance(pixels, output).toFixed(3)} root mean square`]];
    if (posterior.logVar) facts.push(["spread", `σ ${spread(posterior.logVar)}`]);
    if (done) facts.push(...(await this.score(pixels)));
    if (space === app.space)
      this.verdict.replaceChildren(...facts.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  }

  /** @param {Uint8Array} pixels @returns {Promise<string[][]>} */
  async score(pixels) {
    const { app } = this, { space } = app;
    if (!space) return [];
    const parts = await app.offered("Reconstruct", () => space.latents.reconstruct(pixels));
    const scored = space.model.spread && space.model.nats;
    const bound = scored && await app.offered("Score", () => space.latents.score(pixels, app.store.state.seed));
    return [
      ...(parts ? [["reconstruction", space.model.nats ? `${parts.reconstruction.toFixed(1)} nats`
        : `${parts.reconstruction.toPrecision(3)} mean square`]] : []),
      ...(parts && parts.kl !== null ? [["KL", `${parts.kl.toFixed(1)} nats`]] : []),
      ...(bound ? [["log p(x) ≥", `${figure(bound.bound, 1)} ± ${bound.error.toFixed(1)} nats`]]
        : scored ? [["score", "this server does not offer it"]] : []),
    ];
  }
}

/** @param {Float32Array} logVar */
function spread(logVar) {
  const sigmas = Array.from(logVar, (x) => Math.exp(x / 2)).sort((a, b) => a - b);
  const [least, most] = [sigmas[0], sigmas[sigmas.length - 1]].map((x) => x.toFixed(2));
  return least === most ? least : `${least} to ${most}`;
}

