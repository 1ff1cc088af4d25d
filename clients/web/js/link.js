// The whole state in the address, deflated, so that a link restores the sender's page.

import { fromBase64, toBase64 } from "./tensor.js";
import { EMPTY } from "./store.js";
/** @typedef {import("./store.js").State} State */

/** @param {Uint8Array} bytes @param {CompressionStream | DecompressionStream} stream */
async function through(bytes, stream) {
  const flow = new Blob([/** @type {BlobPart} */ (bytes)]).stream().pipeThrough(stream);
  return new Uint8Array(await new Response(flow).arrayBuffer());
}

const rounded = (/** @type {string} */ _key, /** @type {unknown} */ value) =>
  typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value;

/** @param {State} state @returns {Promise<string>} the fragment, without its # */
export async function toFragment(state) {
  const text = new TextEncoder().encode(JSON.stringify(state, rounded));
  const packed = await through(text, new CompressionStream("deflate-raw"));
  return toBase64(packed).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

const isVector = (/** @type {unknown} */ value) =>
  Array.isArray(value) && value.every((x) => Number.isFinite(x));

/** @type {Record<string, (value: any) => boolean>} */
const FITS = {
  z: isVector, hidden: isVector,
  label: (value) => Number.isInteger(value) && value >= 0,
  corner: (value) => isVector(value) && value.length === 2,
  pins: (value) => Array.isArray(value) && value.length <= 4 && value.every((pin) => isVector(pin?.z)),
  view: (value) => value === null || isVector([value.x, value.y, value.scale]),
  shape: (value) => ["line", "arc", "square"].includes(value),
  panel: (value) => ["sliders", "image", "mix"].includes(value),
};

/**
 * A link comes from anyone: only fields that are known and of the right kind are taken.
 * @param {string} fragment @returns {Promise<State | null>} null when there is no state in it
 */
export async function fromFragment(fragment) {
  if (!fragment) return null;
  try {
    const packed = fromBase64(fragment.replaceAll("-", "+").replaceAll("_", "/"));
    const text = await through(packed, new DecompressionStream("deflate-raw"));
    const given = JSON.parse(new TextDecoder().decode(text));
    const state = /** @type {any} */ ({ ...EMPTY });
    for (const key of Object.keys(EMPTY)) {
      const fits = FITS[key] ?? ((value) => typeof value === typeof state[key]);
      if (key in given && fits(given[key])) state[key] = given[key];
    }
    return state;
  } catch {
    return null;
  }
}
