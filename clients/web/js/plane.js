// The plane of the map: two orthonormal axes, with conversions to and from latents. With two
// coordinates it is the latent space. With more it is the plane of the means' two principal axes, which
// the bundle has, or else of the two most active coordinates, shifted so that it contains the point.

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

export class Plane {
  /** @param {Float64Array} across @param {Float64Array} up @param {string} axesText what the axes are */
  constructor(across, up, axesText) {
    this.across = across;
    this.up = up;
    this.axesText = axesText;
  }

  /**
   * @param {import("./latents.js").Model} model
   * @param {import("./test-embeddings.js").TestEmbeddings | null} embeddings
   */
  static of(model, embeddings) {
    const size = model.latentSize;
    if (size <= 2) return new Plane(unit(size, 0), unit(size, 1), size < 2 ? "z₁" : "z₁ across, z₂ up");
    if (embeddings && embeddings.axes.length > 1) {
      const [across, up] = embeddings.axes.map(({ vector }) => Float64Array.from(vector));
      return new Plane(across, up, `two principal axes of ${size}`);
    }
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
