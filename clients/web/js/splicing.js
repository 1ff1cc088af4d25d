// Two images mixed by a mask, for models whose latents are maps of features over the image: where the
// mask is, the latents of a pinned image; elsewhere those of the drawing.

import { make } from "./dom.js";

const LETTERS = "ABCD";

export class Splicing {
  /** @param {import("./app.js").App} app @param {import("./drawing-canvas.js").DrawingCanvas} drawing */
  constructor(app, drawing) {
    this.app = app;
    this.drawing = drawing;
    this.word = make("p.word");
    this.tools = make("div.row");
    this.element = make("div.block", { hidden: true }, make("h2", {}, "Mix by mask"), this.word, this.tools);
    this.shown = "";
  }

  /** The drawing, its mask or the pins have changed. */
  follow() {
    const { space, store } = this.app, { pins } = store.state;
    this.element.hidden = !space?.model.spatial;
    if (!space?.model.spatial) return;
    const ready = this.drawing.masked && !this.drawing.empty && pins.length > 0;
    this.word.textContent = ready ? "The masked part takes the latents of a pinned image; the rest stays."
      : "Pin an image, open another one, and paint with Mask over the part that the pinned one is to give.";
    const wanted = `${ready} ${pins.length}`;
    if (wanted === this.shown) return;
    this.shown = wanted;
    this.tools.replaceChildren(...(ready ? pins.map((_, index) => make("button", { id: `splice-${LETTERS[index]}`,
      onclick: () => this.splice(index) }, `Masked part from ${LETTERS[index]}`)) : []));
  }

  /** @param {number} index of the pin */
  splice(index) {
    const { space, posterior, store } = this.app;
    if (!space || !posterior) return;
    const other = store.state.pins[index].z, cells = cellsOf(this.drawing, space.model.latentShape);
    store.set({ z: Array.from(posterior.mean, (x, i) => (cells[i % cells.length] ? other[i] : x)) });
  }
}

/**
 * Which places of a latent `[channels, height, width]` are masked: those with at least half their pixels.
 * @param {import("./drawing-canvas.js").DrawingCanvas} drawing @param {number[]} latentShape
 */
function cellsOf(drawing, [, rows, columns]) {
  const [, height, width] = drawing.shape, tall = height / rows, wide = width / columns;
  return Array.from({ length: rows * columns }, (_, cell) => {
    const top = Math.floor(cell / columns) * tall, left = (cell % columns) * wide;
    let masked = 0;
    for (let y = Math.floor(top); y < top + tall; y++)
      for (let x = Math.floor(left); x < left + wide; x++) masked += drawing.mask[y * width + x] ? 1 : 0;
    return 2 * masked >= tall * wide;
  });
}
