// Draws images of the service on canvases. One channel is drawn in the colours of the theme, so that it
// is legible in dark and light mode; three channels are drawn unchanged.

/** @typedef {number[]} Shape channels, height, width */

/** The page's ink, red, green and blue. @returns {number[]} */
function inkColour() {
  const hex = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

/** @type {number[] | null} */
let ink = null;
export const forgetInk = () => { ink = null; };

/**
 * @param {Uint8Array} pixels one image @param {Shape} shape
 * @param {boolean} [plain] as the data has it (white on black), for saving
 * @returns {ImageData}
 */
export function toImageData(pixels, shape, plain = false) {
  const [channels, height, width] = shape;
  const image = new ImageData(width, height);
  const out = image.data, area = width * height;
  ink ??= inkColour();
  for (let i = 0, p = 0; i < area; i++, p += 4) {
    const colour = channels >= 3;
    const [r, g, b] = colour ? [pixels[i], pixels[area + i], pixels[2 * area + i]]
      : plain ? [pixels[i], pixels[i], pixels[i]] : ink;
    out[p] = r; out[p + 1] = g; out[p + 2] = b;
    out[p + 3] = colour || plain ? 255 : pixels[i];
  }
  return image;
}

/** @param {Shape} shape */
export const imageSize = (shape) => shape[0] * shape[1] * shape[2];

/** @param {Uint8Array} images @param {number} row @param {Shape} shape */
export function imageAt(images, row, shape) {
  const size = imageSize(shape);
  return images.subarray(row * size, (row + 1) * size);
}

/** @param {HTMLCanvasElement} canvas @param {ImageData} image */
export function put(canvas, image) {
  if (canvas.width !== image.width) canvas.width = image.width;
  if (canvas.height !== image.height) canvas.height = image.height;
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}

/** @param {HTMLCanvasElement} canvas @param {Uint8Array} pixels @param {Shape} shape */
export const show = (canvas, pixels, shape) => put(canvas, toImageData(pixels, shape));

/**
 * What the reconstruction adds (red) and misses (blue), mean over the channels.
 * @param {Uint8Array} input @param {Uint8Array} output @param {Shape} shape
 */
export function errorMap(input, output, shape) {
  const [channels, height, width] = shape;
  const image = new ImageData(width, height), area = width * height;
  for (let i = 0, p = 0; i < area; i++, p += 4) {
    let difference = 0;
    for (let c = 0; c < channels; c++) difference += (output[c * area + i] - input[c * area + i]) / channels;
    image.data.set(difference > 0 ? [255, 77, 77] : [47, 123, 255], p);
    image.data[p + 3] = Math.min(255, Math.abs(difference) * 1.4);
  }
  return image;
}

/** @param {Uint8Array} input @param {Uint8Array} output root mean square, in [0, 1] */
export function distance(input, output) {
  let sum = 0;
  for (let i = 0; i < input.length; i++) sum += (input[i] - output[i]) ** 2;
  return Math.sqrt(sum / input.length) / 255;
}
