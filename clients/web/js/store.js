// The state of the page, which links contain and undo restores.

/**
 * @typedef {{z: number[], item?: number}} Pin `item` is the test image that it came from
 * @typedef {{x: number, y: number, scale: number}} View middle of the map; pixels a unit
 * @typedef {object} State
 * @property {string} model @property {string} version
 * @property {number[]} z the point
 * @property {number} label the class in which a conditional model encodes and decodes
 * @property {Pin[]} pins
 * @property {number} seed
 * @property {string} image base64 of the drawn or dropped image's bytes, or ""
 * @property {string} mask base64 of the mask, one byte a pixel, or ""
 * @property {"line"|"arc"|"square"} shape
 * @property {number} t along the path, 0 to 1
 * @property {[number, number]} corner on the square, 0 to 1 each
 * @property {"sliders"|"image"|"mix"} panel
 * @property {boolean} tiles @property {boolean} dots @property {number[]} hidden labels
 * @property {View | null} view null shows everything
 */

/** Not undone: changes of the view are no actions. */
const OUTSIDE_HISTORY = ["view", "panel", "tiles", "dots", "hidden"];
const DEPTH = 200;

/** @type {State} */
export const EMPTY = {
  model: "", version: "", z: [], label: 0, pins: [], seed: 1, image: "", mask: "", shape: "line", t: 0,
  corner: [0.5, 0.5], panel: "sliders", tiles: true, dots: true, hidden: [], view: null,
};

/** @param {State} state */
const remembered = (state) =>
  JSON.stringify(state, (key, value) => (OUTSIDE_HISTORY.includes(key) ? undefined : value));

export class Store {
  /** @param {State} state */
  constructor(state) {
    this.state = state;
    /** @type {((state: State, changed: Set<string>) => void)[]} */
    this.watchers = [];
    this.past = [remembered(state)];
    /** @type {string[]} */
    this.future = [];
  }

  /** @param {(state: State, changed: Set<string>) => void} watcher */
  watch(watcher) {
    this.watchers.push(watcher);
  }

  /**
   * Changes the state; `commit` makes it a step of undo (a drag commits when the hand lets go).
   * @param {Partial<State>} patch
   */
  set(patch, commit = true) {
    this.state = { ...this.state, ...patch };
    for (const watcher of this.watchers) watcher(this.state, new Set(Object.keys(patch)));
    if (commit) this.commit();
  }

  commit() {
    const now = remembered(this.state);
    if (now === this.past.at(-1)) return;
    this.past.push(now);
    if (this.past.length > DEPTH) this.past.shift();
    this.future = [];
    this.set({}, false);
  }

  undo() {
    const left = this.past.length > 1 ? this.past.pop() : undefined;
    if (left === undefined) return;
    this.future.push(left);
    this.set(JSON.parse(/** @type {string} */ (this.past.at(-1))), false);
  }

  redo() {
    const next = this.future.pop();
    if (next === undefined) return;
    this.past.push(next);
    this.set(JSON.parse(next), false);
  }

  /** Clears the undo steps, for example for another model, whose latents have another meaning. */
  begin() {
    this.past = [remembered(this.state)];
    this.future = [];
    this.set({}, false);
  }
}
