// NumPy's .npy format, version 1.0: numpy.org/doc/stable/reference/generated/numpy.lib.format.html

/** @type {Record<string, (buffer: ArrayBuffer, at: number) => ArrayLike<any>>} */
const VIEWS = {
  "|u1": (buffer, at) => new Uint8Array(buffer, at),
  "<f4": (buffer, at) => new Float32Array(buffer.slice(at)),
  "<i8": (buffer, at) => Array.from(new BigInt64Array(buffer.slice(at)), Number),
};

/**
 * @param {ArrayBuffer} buffer
 * @returns {{shape: number[], data: ArrayLike<any>}}
 */
export function readNpy(buffer) {
  const view = new DataView(buffer);
  if (view.getUint32(0) !== 0x934e554d) throw new Error("not an .npy file");
  const wide = view.getUint8(6) > 1;
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder().decode(new Uint8Array(buffer, start, length));
  const descr = /'descr':\s*'([^']+)'/.exec(header)?.[1] ?? "";
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1] ?? "";
  if (!VIEWS[descr] || /'fortran_order':\s*True/.test(header))
    throw new Error(`cannot read .npy of ${descr}`);
  return {
    shape: shape.split(",").filter((part) => part.trim()).map(Number),
    data: VIEWS[descr](buffer, start + length),
  };
}

/**
 * @param {Float32Array | Uint8Array} data @param {number[]} shape
 * @returns {Blob}
 */
export function writeNpy(data, shape) {
  const descr = data instanceof Float32Array ? "<f4" : "|u1";
  const axes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${axes}), }`;
  const padded = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + "\n";
  const prefix = new Uint8Array([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, padded.length & 255, padded.length >> 8]);
  return new Blob([prefix, padded, /** @type {BlobPart} */ (data)], { type: "application/octet-stream" });
}
