// The keyboard: the keys work everywhere except in text fields.

import { byId } from "./dom.js";

const SLIDER_KEYS = /^(Arrow|Home|End|Page)/;
const STEP = 22, STRIDE = 110; // pixels on the map

/** @param {EventTarget | null} target */
const isTyping = (target) =>
  target instanceof HTMLElement && (target.matches("input:not([type=range]), select, textarea") || target.isContentEditable);

/**
 * @param {import("./app.js").App} app @param {import("./map.js").LatentMap} map
 * @param {{draw(): void, play(): void, share(): void}} act
 */
export function bindKeys(app, map, act) {
  const { store } = app;
  const panel = (/** @type {"sliders"|"image"|"mix"} */ name) => () => store.set({ panel: name }, false);
  const zoom = (/** @type {number} */ factor) => () => map.lookAt(map.port.zoomed(factor));
  const goTo = (/** @type {number} */ index) => () => {
    const pin = store.state.pins[index];
    if (pin) store.set({ z: pin.z });
  };
  /** @type {Record<string, () => void>} */
  const plain = {
    p: () => app.pinHere(), Backspace: () => store.set({ pins: store.state.pins.slice(0, -1) }),
    1: goTo(0), 2: goTo(1), 3: goTo(2), 4: goTo(3),
    r: act.draw, l: act.share, t: () => byId("tiles").click(), d: () => byId("dots").click(),
    s: panel("sliders"), i: panel("image"), m: panel("mix"),
    "+": zoom(1.4), "=": zoom(1.4), "-": zoom(1 / 1.4), 0: () => store.set({ view: null }, false),
    Home: () => app.centre(), "?": () => byId("keys").showModal(), " ": act.play,
  };
  const arrows = /** @type {Record<string, [number, number]>} */ ({
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] });

  document.addEventListener("keydown", (event) => {
    if (byId("keys").open || isTyping(event.target)) return;
    if (event.ctrlKey || event.metaKey) {
      if (event.key.toLowerCase() === "z") { event.preventDefault(); event.shiftKey ? store.redo() : store.undo(); }
      if (event.key.toLowerCase() === "y") { event.preventDefault(); store.redo(); }
      return;
    }
    const onButton = event.target instanceof HTMLButtonElement && (event.key === " " || event.key === "Enter");
    const onSlider = event.target instanceof HTMLInputElement && SLIDER_KEYS.test(event.key);
    const arrow = arrows[event.key], work = plain[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (event.altKey || onButton || onSlider || !(arrow || work)) return;
    event.preventDefault();
    if (arrow) step(arrow, event.shiftKey ? STRIDE : STEP);
    else work();
  });

  /** @param {[number, number]} arrow @param {number} pixels */
  function step([x, y], pixels) {
    if (!app.space) return;
    const by = pixels / map.port.view.scale, [u, v] = app.space.plane.project(store.state.z);
    store.set({ z: app.space.plane.moved(store.state.z, u + x * by, v + y * by) });
  }
}
