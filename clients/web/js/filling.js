// Inpainting: the model fills the masked pixels of the drawing in several ways.

import { make } from "./dom.js";
import { imageAt, show } from "./pixels.js";

const FILLS = 4;

export class Filling {
  /** @param {import("./app.js").App} app @param {import("./drawing-canvas.js").DrawingCanvas} drawing */
  constructor(app, drawing) {
    this.app = app;
    this.drawing = drawing;
    this.rounds = make("input", { type: "number", min: 1, max: 500, value: "60", id: "rounds" });
    this.button = make("button.primary", { id: "fill", onclick: () => this.fill().catch(app.trouble) }, "Fill in");
    this.fills = make("div.fills");
    this.word = make("p.word");
    this.tools = make("div.row", {}, this.button,
      make("label.inline", { title: "Steps of encoding, drawing, decoding" }, "steps", this.rounds));
    this.element = make("div.block", {}, make("h2", {}, "Inpaint"), this.word, this.tools, this.fills);
  }

  follow() {
    const point = this.app.space?.model.spread === false, lacking = point || this.app.missing.has("Inpaint");
    this.tools.hidden = lacking;
    this.button.disabled = !this.drawing.masked || this.drawing.empty;
    this.word.textContent = point ? "Inpainting needs a posterior to draw from; this model's is deterministic."
      : lacking ? "This server does not offer inpainting."
      : this.button.disabled ? "Paint with Mask over the pixels to fill in."
        : "The model fills in the masked pixels; the rest of the image stays.";
    if (!this.drawing.masked) this.fills.replaceChildren();
  }

  async fill() {
    const { app, drawing } = this, { space } = app;
    if (!space) return;
    this.button.disabled = true;
    const { shape } = drawing;
    const pixels = repeated(drawing.pixels, FILLS), mask = repeated(drawing.mask, FILLS);
    try {
      const filled = await app.offered("Inpaint", () =>
        space.latents.inpaint(pixels, mask, Number(this.rounds.value), app.store.state.seed));
      this.fills.replaceChildren(...(filled ? Array.from({ length: FILLS }, (_, row) => this.one(imageAt(filled, row, shape))) : []));
      this.fills.scrollIntoView({ block: "nearest" });
    } finally {
      this.follow();
    }
  }

  /** @param {Uint8Array} pixels */
  one(pixels) {
    const canvas = make("canvas");
    show(canvas, pixels, this.drawing.shape);
    const take = () => {
      this.drawing.set(this.drawing.shape, pixels, null);
      this.drawing.changed(true);
    };
    return make("button", { title: "Use this image", onclick: take }, canvas);
  }
}

/** @param {Uint8Array} array @param {number} times */
function repeated(array, times) {
  const out = new Uint8Array(array.length * times);
  for (let i = 0; i < times; i++) out.set(array, i * array.length);
  return out;
}
