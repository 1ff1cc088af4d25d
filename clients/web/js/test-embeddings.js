// The bundle's test embeddings, which are optional: means, labels and images of part of the test set.

import { authorization, networkError } from "./connect.js";
import { readNpy } from "./npy.js";
import { imageAt } from "./pixels.js";

/**
 * @param {string} path @returns {Promise<{shape: number[], data: any} | null>} null: there is none
 * @throws {import("./connect.js").CallError} the server is gone
 */
async function array(path) {
  const lost = (/** @type {unknown} */ reason) => { throw networkError(reason); };
  const response = await fetch(path, { headers: authorization() }).catch(lost);
  if (!response.ok || response.status === 204) return null;
  return readNpy(await response.arrayBuffer().catch(lost));
}

export class TestEmbeddings {
  /**
   * @param {string} path @param {Float32Array} means @param {ArrayLike<number> | null} labels
   * @param {import("./latents.js").Model} model
   */
  constructor(path, means, labels, model) {
    const size = model.latentSize;
    this.names = model.labelNames;
    /** @type {{vector: Float32Array, spread: number, middle: number}[]} the principal axes of the means */ this.axes = [];
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
    const [means, labels, axes, spreads] = await Promise.all(
      ["means", "labels", "axes", "spreads"].map((name) => array(`${path}/${name}.npy`)));
    const made = means && new TestEmbeddings(path, means.data, labels?.data ?? null, model);
    if (made && axes && spreads) made.takeAxes(axes.data, spreads.data);
    return made;
  }

  /** @param {Float32Array} axes one after the other @param {ArrayLike<number>} spreads */
  takeAxes(axes, spreads) {
    const middle = this.dims().map((dim) => dim.mean);
    this.axes = Array.from({ length: spreads.length }, (_, at) => {
      const vector = axes.subarray(at * this.size, (at + 1) * this.size);
      return { vector, spread: spreads[at], middle: vector.reduce((sum, x, i) => sum + x * middle[i], 0) };
    });
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

  /** UMAP coordinates as the Embedding Projector reads vectors; null where the bundle has none. */
  async umapTable() {
    const found = await array(`${this.path}/umap.npy`);
    if (!found) return null;
    const lines = Array.from({ length: this.count }, (_, item) => `${found.data[2 * item]}\t${found.data[2 * item + 1]}`);
    return `${lines.join("\n")}\n`;
  }

  /** @param {number} item */
  label(item) {
    return this.labels ? this.labels[item] : -1;
  }

  /** The name of a label, or its number. @param {number} label */
  name(label) {
    return this.names[label] ?? String(label);
  }

  /** @param {number} item @returns {number[]} */
  mean(item) {
    return Array.from(this.means.subarray(item * this.size, (item + 1) * this.size));
  }

  /** The mean of the means of all items with one of some labels. @param {number[]} labels @returns {number[]} */
  middle(labels) {
    const sum = new Array(this.size).fill(0);
    let count = 0;
    for (let item = 0; item < this.count; item++) {
      if (!labels.includes(this.label(item))) continue;
      count++;
      for (let i = 0; i < this.size; i++) sum[i] += this.means[item * this.size + i];
    }
    return sum.map((x) => x / Math.max(count, 1));
  }

  /** @param {number} item @param {number[]} shape @returns {Uint8Array | null} */
  image(item, shape) {
    return this.images && imageAt(this.images, item, shape);
  }

  /** The items whose means are nearest to z, the nearest first. @param {number[]} z @param {number} count */
  nearest(z, count) {
    /** @type {[number, number][]} */ const best = [];
    for (let item = 0; item < this.count; item++) {
      const least = best.length < count ? Infinity : best[count - 1][0];
      let sum = 0;
      for (let i = 0; i < this.size && sum < least; i++) sum += (this.means[item * this.size + i] - z[i]) ** 2;
      if (sum >= least) continue;
      best.push([sum, item]);
      best.sort(([a], [b]) => a - b);
      best.length = Math.min(best.length, count);
    }
    return best.map(([, item]) => item);
  }

  /** Means and labels as the Embedding Projector reads them. @returns {{vectors: string, metadata: string}} */
  tables() {
    const lines = Array.from({ length: this.count }, (_, item) => this.mean(item).join("\t"));
    const names = Array.from({ length: this.count }, (_, item) => (this.labels ? this.name(this.labels[item]) : String(item)));
    return { vectors: `${lines.join("\n")}\n`, metadata: `${names.join("\n")}\n` };
  }
}
