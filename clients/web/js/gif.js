// Animated GIF89a, one palette: https://www.w3.org/Graphics/GIF/spec-gif89a.txt

/** Bits least significant first, in sub-blocks of at most 255 bytes. */
class BitWriter {
  constructor() {
    /** @type {number[]} */ this.bytes = [];
    this.held = 0;
    this.count = 0;
  }

  /** @param {number} code @param {number} width */
  write(code, width) {
    this.held |= code << this.count;
    this.count += width;
    for (; this.count >= 8; this.count -= 8) {
      this.bytes.push(this.held & 255);
      this.held >>>= 8;
    }
  }

  blocks() {
    if (this.count) this.bytes.push(this.held & 255);
    const out = [];
    for (let at = 0; at < this.bytes.length; at += 255) {
      const block = this.bytes.slice(at, at + 255);
      out.push(block.length, ...block);
    }
    return [...out, 0];
  }
}

/** Lempel, Ziv and Welch, codes of 9 to 12 bits. @param {Uint8Array} pixels palette indices */
function lzw(pixels) {
  const CLEAR = 256, END = 257;
  const bits = new BitWriter();
  let table = new Map(), next = 258, width = 9;
  bits.write(CLEAR, width);
  let prefix = pixels[0];
  for (let i = 1; i < pixels.length; i++) {
    const key = (prefix << 8) | pixels[i];
    const known = table.get(key);
    if (known !== undefined) { prefix = known; continue; }
    bits.write(prefix, width);
    prefix = pixels[i];
    if (next === 4096) {
      bits.write(CLEAR, width);
      table = new Map(); next = 258; width = 9;
      continue;
    }
    table.set(key, next);
    if (next++ === 1 << width) width++;
  }
  bits.write(prefix, width);
  bits.write(END, width);
  return bits.blocks();
}

/** 256 greys, or 6 x 7 x 6 colours. @param {boolean} grey */
function palette(grey) {
  if (grey) return Array.from({ length: 256 }, (_, i) => [i, i, i]);
  const colours = Array.from({ length: 252 }, (_, i) =>
    [Math.floor(i / 42) * 51, Math.round((Math.floor(i / 6) % 7) * 42.5), (i % 6) * 51]);
  return [...colours, ...Array.from({ length: 4 }, () => [0, 0, 0])];
}

/** @param {Uint8ClampedArray} rgba @param {boolean} grey */
function indexed(rgba, grey) {
  const out = new Uint8Array(rgba.length / 4);
  for (let i = 0, p = 0; i < out.length; i++, p += 4)
    out[i] = grey ? rgba[p]
      : Math.round(rgba[p] / 51) * 42 + Math.round(rgba[p + 1] / 42.5) * 6 + Math.round(rgba[p + 2] / 51);
  return out;
}

const word = (/** @type {number} */ n) => [n & 255, n >> 8];

/**
 * @param {ImageData[]} frames all of one size @param {number} delay milliseconds a frame
 * @param {boolean} grey one channel
 */
export function encodeGif(frames, delay, grey) {
  const { width, height } = frames[0];
  const size = [...word(width), ...word(height)];
  const out = [...new TextEncoder().encode("GIF89a"), ...size, 0xf7, 0, 0, ...palette(grey).flat()];
  out.push(0x21, 0xff, 11, ...new TextEncoder().encode("NETSCAPE2.0"), 3, 1, 0, 0, 0);
  const parts = [new Uint8Array(out)];
  for (const frame of frames)
    parts.push(new Uint8Array([
      0x21, 0xf9, 4, 4, ...word(Math.round(delay / 10)), 0, 0,
      0x2c, 0, 0, 0, 0, ...size, 0, 8, ...lzw(indexed(frame.data, grey)),
    ]));
  parts.push(new Uint8Array([0x3b]));
  return new Blob(parts, { type: "image/gif" });
}
