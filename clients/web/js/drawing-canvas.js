// A canvas of the model's image size: draw, erase, paint a mask, drop or paste a picture.

import { make } from "./dom.js";
import { imageSize, put, toImageData } from "./pixels.js";

/** @typedef {"draw"|"erase"|"mask"} Brush */

/** The width of a stroke, as a share of the canvas's side. */
const STROKE = { draw: 0.078, erase: 0.16, mask: 0.2 };
const LARGEST_FILE = 40e6;

export class DrawingCanvas {
  /**
   * @param {HTMLElement} paper
   * @param {(done: boolean) => void} changed the hand still moves, or is done
   * @param {(error: unknown) => void} fail
   */
  constructor(paper, changed, fail) {
    this.paper = paper;
    this.changed = changed;
    this.fail = fail;
    this.canvas = make("canvas", { tabIndex: 0, "aria-label": "Paper: draw with the pointer" });
    this.over = make("canvas.over", { "aria-hidden": "true" });
    this.invite = make("p.invite", {}, "Draw here, or drop or paste a picture");
    paper.append(this.canvas, this.over, this.invite);
    /** @type {number[]} */ this.shape = [1, 1, 1];
    this.pixels = new Uint8Array(1);
    this.mask = new Uint8Array(1);
    /** @type {Brush} */ this.brush = "draw";
    this.bindHand();
    this.bindFiles();
  }

  /** @param {number[]} shape @param {Uint8Array | null} pixels @param {Uint8Array | null} mask */
  set(shape, pixels, mask) {
    this.shape = shape;
    this.pixels = pixels?.length === imageSize(shape) ? pixels.slice() : new Uint8Array(imageSize(shape));
    const area = shape[1] * shape[2];
    this.mask = mask?.length === area ? mask.slice() : new Uint8Array(area);
    this.show();
  }

  get empty() { return !this.pixels.some((x) => x > 0); }
  get masked() { return this.mask.some((x) => x > 0); }

  show() {
    const [, height, width] = this.shape;
    put(this.canvas, toImageData(this.pixels, this.shape));
    const veil = new ImageData(width, height);
    this.mask.forEach((on, i) => {
      if (on) veil.data.set([125, 139, 255, (i + Math.floor(i / width)) % 2 ? 235 : 175], i * 4);
    });
    put(this.over, veil);
    this.invite.hidden = !this.empty || this.masked;
  }

  /** A dab of the brush, soft at its rim. @param {number} x @param {number} y pixels of the image */
  dab(x, y) {
    const [channels, height, width] = this.shape, area = width * height;
    const radius = Math.max(0.9, (STROKE[this.brush] * Math.max(width, height)) / 2);
    for (let row = Math.max(0, Math.floor(y - radius - 1)); row <= Math.min(height - 1, y + radius + 1); row++)
      for (let column = Math.max(0, Math.floor(x - radius - 1)); column <= Math.min(width - 1, x + radius + 1); column++) {
        const depth = Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(column + 0.5 - x, row + 0.5 - y)));
        if (depth <= 0) continue;
        const at = row * width + column;
        if (this.brush === "mask") { if (depth > 0.5) this.mask[at] = 1; continue; }
        if (this.brush === "erase" && depth > 0.5) this.mask[at] = 0;
        for (let c = at; c < channels * area; c += area)
          this.pixels[c] = this.brush === "draw" ? Math.max(this.pixels[c], depth * 255) : this.pixels[c] * (1 - depth);
      }
  }

  bindHand() {
    /** @type {[number, number] | null} */
    let last = null;
    const at = (/** @type {PointerEvent} */ event) => {
      const box = this.canvas.getBoundingClientRect();
      return /** @type {[number, number]} */ ([
        ((event.clientX - box.left) / box.width) * this.shape[2], ((event.clientY - box.top) / box.height) * this.shape[1]]);
    };
    const stroke = (/** @type {[number, number]} */ to) => {
      const from = last ?? to, steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) * 2));
      for (let i = 1; i <= steps; i++)
        this.dab(from[0] + ((to[0] - from[0]) * i) / steps, from[1] + ((to[1] - from[1]) * i) / steps);
      last = to;
      this.show();
      this.changed(false);
    };
    this.canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
      this.canvas.setPointerCapture(event.pointerId);
      last = null;
      stroke(at(event));
    });
    this.canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
      if (last) for (const part of event.getCoalescedEvents?.() ?? [event]) stroke(at(part));
    });
    for (const end of ["pointerup", "pointercancel"])
      this.canvas.addEventListener(end, () => { if (last) { last = null; this.changed(true); } });
  }

  bindFiles() {
    this.paper.addEventListener("dragover", (event) => { event.preventDefault(); this.paper.dataset.drop = ""; });
    this.paper.addEventListener("dragleave", () => delete this.paper.dataset.drop);
    this.paper.addEventListener("drop", (event) => {
      event.preventDefault();
      delete this.paper.dataset.drop;
      this.take(event.dataTransfer?.files[0]);
    });
  }

  /** @param {Blob | undefined} file */
  async take(file) {
    if (!file) return;
    try {
      if (file.size > LARGEST_FILE) throw new Error("the picture is larger than 40 MB");
      const picture = await createImageBitmap(file).catch(() => { throw new Error("this file is not a picture"); });
      this.pixels = this.read(picture);
      this.mask.fill(0);
      this.show();
      this.changed(true);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Fitted whole onto the paper; dark on light becomes light on dark. @param {ImageBitmap} picture */
  read(picture) {
    const [channels, height, width] = this.shape, area = width * height;
    const context = make("canvas", { width, height }).getContext("2d");
    const zoom = Math.min(width / picture.width, height / picture.height);
    const wide = Math.max(1, Math.round(picture.width * zoom)), tall = Math.max(1, Math.round(picture.height * zoom));
    const left = Math.floor((width - wide) / 2), top = Math.floor((height - tall) / 2);
    context.imageSmoothingQuality = "high";
    context.fillStyle = "#fff"; // under what is transparent
    context.fillRect(left, top, wide, tall);
    context.drawImage(picture, left, top, wide, tall);
    const { data } = context.getImageData(left, top, wide, tall);
    const invert = channels === 1 && isOnPaper(data, wide, tall);
    const pixels = new Uint8Array(channels * area);
    for (let i = 0; i < wide * tall; i++) {
      const at = (top + Math.floor(i / wide)) * width + left + (i % wide);
      for (let c = 0; c < channels; c++)
        pixels[c * area + at] = channels > 1 ? data[i * 4 + Math.min(c, 2)] : invert ? 255 - grey(data, i) : grey(data, i);
    }
    return pixels;
  }

  invert() {
    this.pixels = this.pixels.map((x) => 255 - x);
    this.show();
    this.changed(true);
  }
}

/** @param {Uint8ClampedArray} rgba @param {number} i */
const grey = (rgba, i) => 0.299 * rgba[i * 4] + 0.587 * rgba[i * 4 + 1] + 0.114 * rgba[i * 4 + 2];

/** Whether the rim is mostly light: ink on paper. @param {Uint8ClampedArray} rgba @param {number} width @param {number} height */
function isOnPaper(rgba, width, height) {
  let light = 0, count = 0;
  for (let i = 0; i < width * height; i++) {
    const x = i % width, y = Math.floor(i / width);
    if (x && y && x < width - 1 && y < height - 1) continue;
    light += grey(rgba, i);
    count++;
  }
  return light / count > 127;
}
