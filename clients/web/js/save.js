// Pictures and arrays as files.

import { encodeGif } from "./gif.js";
import { writeNpy } from "./npy.js";
import { imageAt, toImageData } from "./pixels.js";

const LEAST_SIDE = 256; // pixels of a saved image: smaller ones are enlarged by an integer

/** @param {Blob} blob @param {string} name */
function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** @param {HTMLCanvasElement} canvas @param {string} name */
export const saveCanvas = (canvas, name) =>
  canvas.toBlob((blob) => { if (blob) save(blob, name); });

/** @param {number[]} shape @param {number} columns @param {number} rows */
function sheet(shape, columns, rows) {
  const zoom = Math.max(1, Math.round(LEAST_SIDE / (shape[2] * Math.min(columns, 4))));
  const canvas = document.createElement("canvas");
  canvas.width = columns * shape[2] * zoom;
  canvas.height = rows * shape[1] * zoom;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  context.imageSmoothingEnabled = false;
  return { canvas, context, zoom };
}

/** @param {ImageData} image */
function asCanvas(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas;
}

/** @param {Uint8Array} images @param {number[]} shape @param {number} columns @param {string} name */
export function savePng(images, shape, columns, name) {
  const count = images.length / (shape[0] * shape[1] * shape[2]);
  const { canvas, context, zoom } = sheet(shape, columns, Math.ceil(count / columns));
  const wide = shape[2] * zoom, tall = shape[1] * zoom;
  for (let row = 0; row < count; row++) {
    const image = asCanvas(toImageData(imageAt(images, row, shape), shape, true));
    context.drawImage(image, (row % columns) * wide, Math.floor(row / columns) * tall, wide, tall);
  }
  saveCanvas(canvas, name);
}

/** There and back again. @param {Uint8Array} images @param {number[]} shape @param {string} name */
export function saveGif(images, shape, name) {
  const count = images.length / (shape[0] * shape[1] * shape[2]);
  const { canvas, context } = sheet(shape, 1, 1);
  const frames = Array.from({ length: count }, (_, row) => {
    context.drawImage(asCanvas(toImageData(imageAt(images, row, shape), shape, true)), 0, 0, canvas.width, canvas.height);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  });
  save(encodeGif([...frames, ...frames.slice(1, -1).reverse()], 60, shape[0] === 1), name);
}

/** @param {string} text @param {string} name */
export const saveText = (text, name) => save(new Blob([text], { type: "text/tab-separated-values" }), name);

/** @param {Float32Array | Uint8Array} data @param {number[]} shape @param {string} name */
export const saveNpy = (data, shape, name) => save(writeNpy(data, shape), name);
