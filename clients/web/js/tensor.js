// Tensors in JSON: little-endian bytes in base64.

/** @typedef {{dtype: string, shape: (number|string)[], data: string}} Tensor */

const CHUNK = 0x8000; // String.fromCharCode takes its arguments on the stack

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += CHUNK)
    text += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return btoa(text);
}

/** @param {string} text @returns {Uint8Array} */
export function fromBase64(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

/** @param {ArrayLike<number>} values @param {number[]} shape @returns {Tensor} */
export function floatTensor(values, shape) {
  const array = Float32Array.from(values);
  return { dtype: "DATA_TYPE_FLOAT32", shape, data: toBase64(new Uint8Array(array.buffer)) };
}

/** @param {Uint8Array} values @param {number[]} shape @returns {Tensor} */
export function byteTensor(values, shape) {
  return { dtype: "DATA_TYPE_UINT8", shape, data: toBase64(values) };
}

/** @param {Tensor} tensor @returns {Float32Array} */
export const floats = (tensor) => new Float32Array(fromBase64(tensor.data).buffer);

/** @param {Tensor} tensor @returns {Uint8Array} */
export const bytes = (tensor) => fromBase64(tensor.data);
