// Below the map: the pinned images, and samples from the prior.

import { byId, make } from "./dom.js";
import { imageAt } from "./pixels.js";
import { latest } from "./latest.js";
import { LETTERS } from "./map.js";

const SAMPLES = 24;

/** @typedef {import("./app.js").App} App */

export class Pins {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.asked = "";
    this.list = byId("pins");
    this.strip = byId("samples");
    this.seed = byId("seed");
    this.samples = /** @type {HTMLElement} */ (this.strip.parentElement);
    this.fetchPins = latest(() => this.showPins(), app.trouble);
    this.fetchSamples = latest(() => this.showSamples(), app.trouble);
    byId("draw").addEventListener("click", () => this.draw());
    this.seed.addEventListener("change", () => {
      const seed = Math.max(0, Math.floor(Number(this.seed.value) || 0));
      app.store.set({ seed });
    });
    this.sampled = "";
  }

  /** New samples: the next seed. */
  draw() {
    this.app.store.set({ seed: this.app.store.state.seed + 1 });
  }

  follow() {
    const { pins, seed, model, version, label } = this.app.store.state;
    if (document.activeElement !== this.seed || Number(this.seed.value) !== seed) this.seed.value = String(seed);
    const wanted = JSON.stringify([pins, model, version, label]);
    if (wanted !== this.asked) { this.layOut(pins.length); this.asked = wanted; if (this.app.space) this.fetchPins(undefined); }
    const sampled = `${model}/${version}/${label}/${seed}`;
    const offered = this.app.space?.model.hasPrior !== false;
    this.samples.hidden = !offered;
    if (this.app.space && offered && sampled !== this.sampled) { this.sampled = sampled; this.fetchSamples(undefined); }
  }

  /** @param {number} count */
  layOut(count) {
    if (this.list.childElementCount === 4 && this.count === count) return;
    this.count = count;
    this.list.replaceChildren(...[0, 1, 2, 3].map((i) => (i < count ? this.pinned(i) : this.slot(i))));
  }

  /** @param {number} index */
  slot(index) {
    return make("li", {}, make("button.slot.empty", { title: "Pin the image at the point (P)", onclick: () => this.app.pinHere() },
      LETTERS[index], make("small", {}, "pin")));
  }

  /** @param {number} index */
  pinned(index) {
    const { store } = this.app;
    return make("li", {},
      make("button.slot", { title: `Go to ${LETTERS[index]} (${index + 1})`, onclick: () => store.set({ z: store.state.pins[index].z }) }, make("canvas")),
      make("span.badge", {}, LETTERS[index]),
      make("button.away", { title: `Remove ${LETTERS[index]}`, "aria-label": `Remove ${LETTERS[index]}`,
        onclick: () => store.set({ pins: store.state.pins.filter((_, i) => i !== index) }) }, "×"));
  }

  async showPins() {
    const { space, store } = this.app, { pins } = store.state;
    if (!space || !pins.length) return;
    const images = await space.latents.decode(pins.flatMap((pin) => pin.z));
    if (space !== this.app.space) return;
    const canvases = this.list.querySelectorAll("canvas");
    for (let i = 0; i < Math.min(canvases.length, pins.length); i++)
      this.app.show(canvases[i], imageAt(images, i, space.model.imageShape));
  }

  async showSamples() {
    const { space, store } = this.app;
    if (!space) return;
    const { images, latents } = await space.latents.sample(SAMPLES, store.state.seed);
    if (space !== this.app.space) return;
    const size = space.model.latentSize;
    this.strip.replaceChildren(...Array.from({ length: SAMPLES }, (_, i) => {
      const canvas = make("canvas");
      this.app.show(canvas, imageAt(images, i, space.model.imageShape));
      const z = Array.from(latents.subarray(i * size, (i + 1) * size));
      return make("button", { title: "Go to this sample", onclick: () => store.set({ z }) }, canvas);
    }));
  }

  /** The colours of the theme have changed. */
  repaint() {
    this.asked = this.sampled = "";
    this.follow();
  }
}
