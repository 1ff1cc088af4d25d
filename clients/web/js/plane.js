// The plane of the map: two orthonormal axes, with conversions to and from latents. With two
// coordinates it is the latent space. With more it is the plane of the means' two principal axes (or,
// without means, of the two most active coordinates), shifted so that it contains the point.

/** @param {ArrayLike<number>} a @param {ArrayLike<number>} b */
function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** @param {number} size @param {number} at */
function unit(size, at) {
  const axis = new Float64Array(size);
  if (at < size) axis[at] = 1;
  return axis;
}

/** Covariance of rows, size x size. @param {ArrayLike<number>} rows @param {number} size */
function covariance(rows, size) {
  const count = rows.length / size;
  const mean = new Float64Array(size), out = new Float64Array(size * size);
  for (let i = 0; i < rows.length; i++) mean[i % size] += rows[i] / count;
  for (let r = 0; r < count; r++)
    for (let a = 0; a < size; a++) {
      const left = rows[r * size + a] - mean[a];
      for (let b = 0; b <= a; b++) out[a * size + b] += left * (rows[r * size + b] - mean[b]);
    }
  for (let a = 0; a < size; a++) for (let b = 0; b < a; b++) out[b * size + a] = out[a * size + b];
  return out;
}

/** The leading eigenvector by power iteration. @param {Float64Array} matrix @param {number} size */
function leading(matrix, size) {
  let axis = Float64Array.from({ length: size }, (_, i) => 1 + (i % 3) * 0.1);
  for (let turn = 0; turn < 300; turn++) {
    const next = axis.map((_, a) => dot(matrix.subarray(a * size, (a + 1) * size), axis));
    const length = Math.sqrt(dot(next, next)) || 1;
    axis = next.map((x) => x / length);
  }
  const strongest = axis.reduce((best, x, i) => (Math.abs(x) > Math.abs(axis[best]) ? i : best), 0);
  return axis[strongest] < 0 ? axis.map((x) => -x) : axis; // the sign is arbitrary: fix it
}

/** @param {ArrayLike<number>} means @param {number} size @returns {[Float64Array, Float64Array]} */
function principalAxes(means, size) {
  const matrix = covariance(means, size);
  const first = leading(matrix, size);
  const value = dot(first.map((_, a) => dot(matrix.subarray(a * size, (a + 1) * size), first)), first);
  for (let i = 0; i < matrix.length; i++)
    matrix[i] -= value * first[Math.floor(i / size)] * first[i % size];
  return [first, leading(matrix, size)];
}

export class Plane {
  /** @param {Float64Array} across @param {Float64Array} up @param {string} axesText what the axes are */
  constructor(across, up, axesText) {
    this.across = across;
    this.up = up;
    this.axesText = axesText;
  }

  /**
   * @param {import("./latents.js").Model} model
   * @param {ArrayLike<number> | null} means the test set's, n*L
   */
  static of(model, means) {
    const size = model.latentSize;
    if (size <= 2) return new Plane(unit(size, 0), unit(size, 1), size < 2 ? "z₁" : "z₁ across, z₂ up");
    if (means && means.length > 2 * size)
      return new Plane(...principalAxes(means, size), `two principal axes of ${size}`);
    const order = model.dims.map((_, i) => i).sort((a, b) => model.dims[b].kl - model.dims[a].kl);
    const [a, b] = order.length > 1 ? order : [0, 1];
    return new Plane(unit(size, a), unit(size, b), `z${a + 1} across, z${b + 1} up`);
  }

  /** @param {ArrayLike<number>} z @returns {[number, number]} */
  project(z) {
    return [dot(z, this.across), dot(z, this.up)];
  }

  /** The latent at (u, v) of the plane that holds z. @param {number[]} z @param {number} u @param {number} v */
  moved(z, u, v) {
    const [u0, v0] = this.project(z);
    return z.map((x, i) => x + (u - u0) * this.across[i] + (v - v0) * this.up[i]);
  }

  /** What of z the map does not show: the tiles depend on it. @param {number[]} z */
  offset(z) {
    return this.moved(z, 0, 0);
  }

  /**
   * The covariance on the map of a diagonal Gaussian, as semi-axes and angle of its 1-sigma ellipse.
   * @param {ArrayLike<number>} logVar
   */
  ellipse(logVar) {
    let aa = 0, ab = 0, bb = 0;
    for (let i = 0; i < logVar.length; i++) {
      const variance = Math.exp(logVar[i]);
      aa += variance * this.across[i] ** 2;
      ab += variance * this.across[i] * this.up[i];
      bb += variance * this.up[i] ** 2;
    }
    const middle = (aa + bb) / 2, reach = Math.hypot((aa - bb) / 2, ab);
    return {
      long: Math.sqrt(middle + reach), short: Math.sqrt(Math.max(0, middle - reach)),
      angle: Math.atan2(2 * ab, aa - bb) / 2,
    };
  }
}
