// The bundle's test embeddings, which are optional: means, labels and images of part of the test set.

import { authorization } from "./connect.js";
import { readNpy } from "./npy.js";
import { imageAt } from "./pixels.js";

/** @param {string} path @returns {Promise<{shape: number[], data: any} | null>} null: there is none */
async function array(path) {
  const response = await fetch(path, { headers: authorization() });
  if (!response.ok) return null;
  return readNpy(await response.arrayBuffer());
}

export class TestEmbeddings {
  /** @param {string} path @param {Float32Array} means @param {ArrayLike<number> | null} labels @param {number} size */
  constructor(path, means, labels, size) {
    this.path = path;
    this.means = means;
    this.labels = labels;
    this.size = size;
    this.count = means.length / size;
    /** @type {Uint8Array | null} */ this.images = null;
    /** @type {number[]} */
    this.kinds = labels ? [...new Set(Array.from(labels))].sort((a, b) => a - b) : [];
  }

  /** @param {import("./latents.js").Model} model @returns {Promise<TestEmbeddings | null>} */
  static async load(model) {
    const path = `test-embeddings/${encodeURIComponent(model.name)}/${encodeURIComponent(model.version)}`;
    const [means, labels] = await Promise.all([array(`${path}/means.npy`), array(`${path}/labels.npy`)]);
    return means && new TestEmbeddings(path, means.data, labels?.data ?? null, model.latentSize);
  }

  async loadImages() {
    this.images = (await array(`${this.path}/images.npy`))?.data ?? null;
  }

  /** Mean and spread of each coordinate, for models without them; the KL is not known. */
  dims() {
    return Array.from({ length: this.size }, (_, i) => {
      let sum = 0, squares = 0;
      for (let at = i; at < this.means.length; at += this.size) {
        sum += this.means[at];
        squares += this.means[at] ** 2;
      }
      const mean = sum / this.count;
      return { kl: NaN, mean, std: Math.sqrt(Math.max(0, squares / this.count - mean ** 2)) };
    });
  }

  /** @param {number} item */
  label(item) {
    return this.labels ? this.labels[item] : -1;
  }

  /** @param {number} item @returns {number[]} */
  mean(item) {
    return Array.from(this.means.subarray(item * this.size, (item + 1) * this.size));
  }

  /** @param {number} item @param {number[]} shape @returns {Uint8Array | null} */
  image(item, shape) {
    return this.images && imageAt(this.images, item, shape);
  }

  /** The item whose mean is nearest to z. @param {number[]} z */
  nearest(z) {
    let best = -1, least = Infinity;
    for (let item = 0; item < this.count; item++) {
      let sum = 0;
      for (let i = 0; i < this.size && sum < least; i++) sum += (this.means[item * this.size + i] - z[i]) ** 2;
      if (sum < least) { least = sum; best = item; }
    }
    return { item: best, distance: Math.sqrt(least) };
  }
}
