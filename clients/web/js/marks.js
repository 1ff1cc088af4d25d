// The marks on the map: prior's rings, path, posterior, pins, the point.

/** @typedef {CanvasRenderingContext2D} Context */
/** @typedef {Record<string, string>} Colours */
/** @typedef {[number, number]} Spot */

const LABEL_AT = Math.SQRT1_2; // to the lower right, where no chips are

/**
 * One, two and three standard deviations of the prior.
 * @param {Context} context @param {import("./viewport.js").Viewport} port @param {Colours} colours
 */
export function drawRings(context, port, colours) {
  const [x, y] = port.toScreen(0, 0);
  context.font = "600 11.5px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const sigma of [1, 2, 3]) {
    const radius = sigma * port.view.scale;
    // A dark line under a light one, or the reverse: legible on tiles of any grey.
    for (const [colour, width, dash] of /** @type {[string, number, number[]][]} */ ([[colours.bg, 3, []], [colours.quiet, 1.25, [4, 4]]])) {
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.globalAlpha = width > 2 ? 0.55 : 1;
      context.setLineDash(dash);
      context.stroke();
    }
    context.setLineDash([]);
    context.globalAlpha = 1;
    context.fillStyle = colours.bg;
    context.beginPath();
    const [across, down] = [x + radius * LABEL_AT, y + radius * LABEL_AT];
    context.roundRect(across - 14, down - 9, 28, 18, 9);
    context.fill();
    context.fillStyle = colours.text;
    context.fillText(`${sigma}σ`, across, down + 0.5);
  }
  context.textAlign = "start";
  context.textBaseline = "alphabetic";
}

/**
 * Smooth within a leg (a Catmull-Rom spline), with a corner where two of them meet.
 * @param {Context} context @param {Spot[]} spots @param {number} leg spots from one pin to the next
 * @param {Spot | null} bead @param {Colours} colours
 */
export function drawPath(context, spots, leg, bead, colours) {
  context.beginPath();
  context.moveTo(...spots[0]);
  for (let i = 0; i + 1 < spots.length; i++) {
    const first = i - (i % leg), a = spots[Math.max(i - 1, first)], b = spots[i];
    const c = spots[i + 1], d = spots[Math.min(i + 2, first + leg)];
    context.bezierCurveTo(
      b[0] + (c[0] - a[0]) / 6, b[1] + (c[1] - a[1]) / 6, c[0] - (d[0] - b[0]) / 6, c[1] - (d[1] - b[1]) / 6, ...c);
  }
  context.lineJoin = "round";
  for (const [width, colour] of /** @type {[number, string][]} */ ([[5, colours.bg], [2.5, colours.accent]])) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke();
  }
  if (bead) disc(context, bead, 6, colours.accent, colours.bg);
}

/** @param {Context} context @param {Spot} spot @param {number} radius @param {string} fill @param {string} edge */
function disc(context, [x, y], radius, fill, edge) {
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fillStyle = fill;
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = edge;
  context.stroke();
}

/**
 * The posterior of an image: its mean, and one and two standard deviations.
 * @param {Context} context @param {Spot} spot
 * @param {{long: number, short: number, angle: number} | null} ellipse @param {number} scale
 * @param {Colours} colours
 */
export function drawEllipse(context, [x, y], ellipse, scale, colours) {
  context.strokeStyle = context.fillStyle = colours.point;
  for (const sigma of ellipse ? [2, 1] : []) {
    context.beginPath();
    const { long, short, angle } = /** @type {NonNullable<typeof ellipse>} */ (ellipse);
    context.ellipse(x, y, Math.max(2, long * scale * sigma), Math.max(2, short * scale * sigma), -angle, 0, 7);
    context.globalAlpha = 0.16;
    context.fill();
    context.globalAlpha = 1;
    context.lineWidth = 1.5;
    context.stroke();
  }
  context.lineWidth = 2.5;
  context.beginPath();
  context.moveTo(x - 5, y); context.lineTo(x + 5, y);
  context.moveTo(x, y - 5); context.lineTo(x, y + 5);
  context.stroke();
}

/** @param {Context} context @param {Spot} spot @param {string} letter @param {Colours} colours */
export function drawPin(context, [x, y], letter, colours) {
  disc(context, [x, y], 11, colours["accent-deep"], "#fff");
  context.fillStyle = "#fff";
  context.font = "700 12px system-ui, sans-serif";
  context.textAlign = "center";
  context.fillText(letter, x, y + 4.3);
  context.textAlign = "start";
}

/** @param {Context} context @param {Spot} spot @param {boolean} held @param {Colours} colours */
export function drawHandle(context, [x, y], held, colours) {
  context.beginPath();
  context.arc(x, y, held ? 13 : 11, 0, 7);
  for (const [width, colour] of /** @type {[number, string][]} */ ([[7, colours.bg], [3.5, colours.point]])) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke();
  }
  disc(context, [x, y], 3, colours.point, colours.bg);
}
