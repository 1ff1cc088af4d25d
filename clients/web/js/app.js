// The shared state of the parts of the page, and the current model.

import { TestEmbeddings } from "./test-embeddings.js";
import { CallError, pulse } from "./connect.js";
import { latest } from "./latest.js";
import { Latents } from "./latents.js";
import { Plane } from "./plane.js";
import { show } from "./pixels.js";
import { remark, notify } from "./notify.js";

const MOST_PINS = 4;
const SMOOTH = 64; // pixels of a side beyond which images are enlarged smoothly

/**
 * @typedef {object} Space one model, ready to roam in
 * @property {import("./latents.js").Model} model @property {Latents} latents
 * @property {Plane} plane @property {TestEmbeddings | null} embeddings
 */
/**
 * @typedef {object} Path what the map draws between the pins
 * @property {ArrayLike<number>[]} latents @property {number} leg steps from one pin to the next
 * @property {ArrayLike<number> | null} bead
 */

export class App {
  /** @param {import("./store.js").Store} store */
  constructor(store) {
    this.store = store;
    /** @type {Space | null} */ this.space = null;
    /** @type {Path | null} */ this.path = null;
    /** @type {{mean: Float32Array, logVar: Float32Array | null} | null} */ this.posterior = null;
    /** @type {Uint8Array | null} the image at the point */ this.here = null;
    /** @type {Set<string>} RPCs that the server turned out not to have */ this.missing = new Set();
    /** @type {import("./latents.js").Model[]} that are ready */ this.models = [];
    this.redraw = () => {};
    /** @type {(() => void)[]} */ this.spaceWatchers = [];
    /** @type {(() => void)[]} */ this.hereWatchers = [];
    this.trouble = (/** @type {unknown} */ error) => notify(error);
    this.decodeHere = latest(async (/** @type {number[]} */ z) => {
      const { space } = this;
      if (!space || z.length !== space.model.latentSize) return;
      const began = performance.now();
      const pixels = await space.latents.decode(z);
      if (space !== this.space) return;
      this.here = pixels;
      pulse.dispatchEvent(new CustomEvent("hand", { detail: { ms: performance.now() - began } }));
      for (const watcher of this.hereWatchers) watcher();
    }, this.trouble);
  }

  /** @param {() => void} watcher told when another model is there, or its test embeddings */
  onSpace(watcher) { this.spaceWatchers.push(watcher); }

  /** @param {() => void} watcher told when the image at the point is there */
  onHere(watcher) { this.hereWatchers.push(watcher); }

  /** @param {import("./latents.js").Model} model */
  async enter(model) {
    this.posterior = this.path = this.here = null;
    this.missing.clear();
    const { state } = this.store, origin = new Array(model.latentSize).fill(0);
    const same = state.model === model.name && state.z.length === model.latentSize;
    const kept = same && state.label < (model.labelCount || 1) ? {} : { z: origin, label: 0, pins: [], image: "", mask: "", view: null, hidden: [], t: 0 };
    const latents = new Latents(model, () => this.store.state.label);
    const space = { model, latents, plane: Plane.of(model, null), embeddings: /** @type {TestEmbeddings | null} */ (null) };
    this.space = space;
    const [, height, width] = model.imageShape;
    document.documentElement.toggleAttribute("data-smooth", Math.max(height, width) > SMOOTH);
    this.store.set({ ...kept, model: model.name, version: model.version }, false);
    this.store.begin();
    this.announce();
    this.decodeHere(this.store.state.z);
    const embeddings = await TestEmbeddings.load(model).catch(() => null);
    if (this.space !== space || !embeddings) return;
    space.embeddings = embeddings;
    space.plane = Plane.of(model, embeddings);
    if (!model.dims.length) model.dims = embeddings.dims();
    this.announce();
    await this.loadImages();
  }

  /** Loads the test images, unless they are there: also again, when the server was lost meanwhile. */
  async loadImages() {
    const { space } = this;
    if (!space?.embeddings || space.embeddings.images) return;
    await space.embeddings.loadImages().catch(this.trouble);
    if (this.space === space) for (const watcher of this.hereWatchers) watcher();
  }

  announce() {
    for (const watcher of this.spaceWatchers) watcher();
  }

  /**
   * Runs what needs an RPC that older servers lack; remembers that it is lacking.
   * @template T @param {string} method @param {() => Promise<T>} work @returns {Promise<T | null>}
   */
  async offered(method, work) {
    if (this.missing.has(method)) return null;
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof CallError) || error.code !== "unimplemented") throw error;
      this.missing.add(method);
      return null;
    }
  }

  /**
   * Pins a latent; the fifth takes the fourth's place.
   * @param {import("./store.js").Pin} pin @param {Partial<import("./store.js").State>} [more]
   */
  pin(pin, more = {}) {
    const { pins } = this.store.state;
    const twin = pins.findIndex(({ z }) => z.every((x, i) => x === pin.z[i]));
    if (twin >= 0) {
      remark(`This image is pinned already, as ${"ABCD"[twin]}.`);
      this.store.set(more);
      return;
    }
    if (pins.length === MOST_PINS) remark("There are at most four pins: the last one was replaced.");
    this.store.set({ pins: [...pins.slice(0, MOST_PINS - 1), pin], ...more });
  }

  pinHere() {
    if (this.space) this.pin({ z: this.store.state.z });
  }

  /** Moves to the prior's mean. */
  centre() {
    if (this.space) this.store.set({ z: new Array(this.space.model.latentSize).fill(0) });
  }

  /** @param {HTMLCanvasElement} canvas @param {Uint8Array} pixels */
  show(canvas, pixels) {
    if (this.space) show(canvas, pixels, this.space.model.imageShape);
  }
}
