// The service's RPCs with flat latents and uint8 images, n rows at a time.

import { call } from "./connect.js";
import { byteTensor, bytes, floatTensor, floats } from "./tensor.js";

const SCORE_SAMPLES = 500;

/**
 * @typedef {object} LatentDim
 * @property {number} kl @property {number} mean @property {number} std
 */
/** @typedef {{name: string, direction: number[]}} Attribute */
/**
 * @typedef {object} Model the answer of GetModel, with numbers as numbers
 * @property {string} name @property {string} version @property {number[]} imageShape
 * @property {number[]} latentShape @property {number} latentSize @property {number} maxRows
 * @property {number} maxPasses rows times iterations of one call
 * @property {LatentDim[]} dims @property {Attribute[]} attributes
 * @property {string} architecture @property {number} beta @property {string} dataset
 * @property {Record<string, number>} metrics @property {boolean} spread whether q(z|x) has a variance
 * @property {number} labelCount classes of a conditional model; 0 for others
 * @property {string[]} labelNames what the labels 0, 1, ... stand for; empty if not known
 * @property {boolean} hasPrior whether Sample draws @property {boolean} nats whether errors are in nats
 * @property {boolean} spatial whether a latent is maps of features over the image
 * @property {string} state @property {string} stateReason
 * @property {string} unshown why this page cannot show it; empty if it can
 */

/** The sizes of axes, the usual ones where the caller chooses. @param {any[] | undefined} axes @param {any[] | undefined} shape */
const sizes = (axes, shape) => (axes?.length ? axes.map((axis) => Number(axis.size || axis.usual)) : (shape ?? []).map(Number));

/** @param {any} json @param {number[]} imageShape */
function unshown(json, imageShape) {
  if (json.codebookSize) return "has codes, which have no map";
  if (json.modality && json.modality !== "MODALITY_IMAGE") return "is not of images";
  return [1, 3].includes(imageShape[0] ?? 1) ? "" : `has images of ${imageShape[0]} channels`;
}

/** @param {any} json @returns {Model} */
export function readModel(json) {
  /** @type {number[]} */
  const latentShape = sizes(json.latentAxes, json.latentShape), imageShape = sizes(json.imageAxes, json.imageShape);
  const dim = (/** @type {any} */ u) => ({ kl: u.kl ?? 0, mean: u.mean ?? 0, std: u.std ?? 0 });
  return {
    name: json.name, version: json.version, latentShape,
    imageShape, labelNames: json.labelNames ?? [], labelCount: Number(json.labelCount ?? 0), spatial: latentShape.length === 3,
    hasPrior: json.prior !== "PRIOR_NONE", nats: json.likelihood !== "LIKELIHOOD_NONE",
    unshown: json.state === "MODEL_STATE_READY" ? unshown(json, imageShape) : "",
    latentSize: latentShape.reduce((a, b) => a * b, 1),
    maxRows: Number(json.limits?.maxRows ?? 256),
    maxPasses: Number(json.limits?.maxRowPasses || 10_000),
    dims: (json.latentDims ?? []).map(dim),
    attributes: (json.attributes ?? []).map((/** @type {any} */ a) => ({ name: a.name, direction: a.direction.map(Number) })),
    architecture: json.architecture ?? "", beta: json.beta ?? 0, dataset: json.dataset ?? "",
    metrics: json.metrics ?? {}, spread: json.posterior !== "POSTERIOR_DETERMINISTIC",
    state: json.state ?? "MODEL_STATE_UNSPECIFIED", stateReason: json.stateReason ?? "",
  };
}

/** @returns {Promise<{models: Model[], standard: string}>} */
export async function listModels() {
  const models = [];
  let token = "", standard = "";
  do {
    const page = await call("ListModels", { pageSize: 200, pageToken: token });
    models.push(...(page.models ?? []).map(readModel));
    token = page.nextPageToken ?? "";
    standard = page.defaultModel || standard;
  } while (token);
  return { models, standard };
}

/** The calls to one version of one model. */
export class Latents {
  /** @param {Model} model @param {() => number} label the class to say to a conditional model */
  constructor(model, label) {
    this.model = model;
    this.label = label;
  }

  get named() {
    const { name, version, labelCount } = this.model;
    return { model: name, version, ...(labelCount ? { labels: [this.label()] } : {}) };
  }

  /** @param {ArrayLike<number>} z n*L */
  latentTensor(z) {
    return floatTensor(z, [z.length / this.model.latentSize, ...this.model.latentShape]);
  }

  /** @param {Uint8Array} pixels n images */
  imageTensor(pixels) {
    const size = this.model.imageShape.reduce((a, b) => a * b, 1);
    return byteTensor(pixels, [pixels.length / size, ...this.model.imageShape]);
  }

  /** @param {ArrayLike<number>} z @returns {Promise<Uint8Array>} images */
  async decode(z) {
    const latents = this.latentTensor(z);
    const answer = await call("Decode", { ...this.named, latents, imageDtype: "DATA_TYPE_UINT8" });
    return bytes(answer.images);
  }

  /** @param {Uint8Array} pixels @returns {Promise<{mean: Float32Array, logVar: Float32Array | null}>} */
  async encode(pixels) {
    const answer = await call("Encode", { ...this.named, images: this.imageTensor(pixels) });
    return { mean: floats(answer.mean), logVar: answer.logVar ? floats(answer.logVar) : null };
  }

  /** @param {number} count @param {number} seed @returns {Promise<{images: Uint8Array, latents: Float32Array}>} */
  async sample(count, seed) {
    const { latentShape } = this.model, asked = { ...this.named, count, seed, latentShape, imageDtype: "DATA_TYPE_UINT8" };
    const answer = await call("Sample", asked);
    return { images: bytes(answer.images), latents: floats(answer.latents) };
  }

  /**
   * Paths from row i of `starts` to row i of `ends`, both included.
   * @param {ArrayLike<number>} starts @param {ArrayLike<number>} ends @param {number} steps
   * @param {boolean} spherical
   * @returns {Promise<{images: Uint8Array, latents: Float32Array}>} path after path
   */
  async interpolate(starts, ends, steps, spherical) {
    const answer = await call("Interpolate", {
      ...this.named, steps, imageDtype: "DATA_TYPE_UINT8",
      starts: { latents: this.latentTensor(starts) }, ends: { latents: this.latentTensor(ends) },
      mode: spherical ? "INTERPOLATION_MODE_SPHERICAL" : "INTERPOLATION_MODE_LINEAR",
    });
    return { images: bytes(answer.images), latents: floats(answer.latents) };
  }

  /** @param {Uint8Array} pixels one image @returns {Promise<{reconstruction: number, kl: number | null}>} nats, or a mean square */
  async reconstruct(pixels) {
    const answer = await call("Reconstruct", { ...this.named, images: this.imageTensor(pixels), imageDtype: "DATA_TYPE_UINT8" });
    return { reconstruction: floats(answer.reconstruction)[0], kl: answer.kl ? floats(answer.kl)[0] : null };
  }

  /** @param {Uint8Array} pixels one image @param {number} seed @returns {Promise<{bound: number, error: number}>} nats */
  async score(pixels, seed) {
    const samples = Math.min(SCORE_SAMPLES, this.model.maxPasses);
    const answer = await call("Score", { ...this.named, images: this.imageTensor(pixels), samples, seed });
    return { bound: floats(answer.bound)[0], error: answer.standardError ? floats(answer.standardError)[0] : NaN };
  }

  /**
   * @param {Uint8Array} pixels n images @param {Uint8Array} masks n masks, one byte a pixel
   * @param {number} rounds @param {number} seed @returns {Promise<Uint8Array>} images
   */
  async inpaint(pixels, masks, rounds, seed) {
    const images = this.imageTensor(pixels), [, height, width] = this.model.imageShape;
    const iterations = Math.max(1, Math.min(rounds, Math.floor(this.model.maxPasses / Number(images.shape[0]))));
    const answer = await call("Inpaint", {
      ...this.named, images, iterations, seed, imageDtype: "DATA_TYPE_UINT8",
      masks: byteTensor(masks, [images.shape[0], 1, height, width].map(Number)),
    });
    return bytes(answer.images);
  }
}
