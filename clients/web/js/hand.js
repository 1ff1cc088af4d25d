// Pointer input on the map: drag the point or a pin, pan, pinch, wheel, hover; a click moves the point,
// a double click pins as well.

const CLICK = 5; // pixels that the pointer may move in a click
/** @typedef {import("./map.js").LatentMap} LatentMap */

/**
 * @param {LatentMap} map
 * @param {{goTo(item: number): void, pinItem(item: number): void, hovered(item: number, x: number, y: number): void,
 *   dragged(x: number, y: number, done: boolean): void}} act
 */
export function bindHand(map, act) {
  const { canvas, app } = map;
  /** @type {Map<number, [number, number]>} */
  const pointers = new Map();
  /** @type {{kind: "point"|"pin"|"pan", index: number, from: [number, number], moved: boolean} | null} */
  let grip = null;

  const place = (/** @type {MouseEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    return /** @type {[number, number]} */ ([event.clientX - box.left, event.clientY - box.top]);
  };
  const spotOf = (/** @type {number[]} */ z) =>
    map.port.toScreen(...(app.space?.plane.project(z) ?? [0, 0]));

  /** The element at the pointer. @param {[number, number]} at @param {number} reach */
  function under(at, reach) {
    const near = (/** @type {number[]} */ z) => {
      const [x, y] = spotOf(z);
      return Math.hypot(x - at[0], y - at[1]) < reach;
    };
    const { z, pins } = app.store.state;
    if (near(z)) return { kind: /** @type {const} */ ("point"), index: -1 };
    const index = pins.findIndex((pin) => near(pin.z));
    return index >= 0 ? { kind: /** @type {const} */ ("pin"), index } : null;
  }

  /** @param {[number, number]} at */
  function moveGrip(at) {
    if (!grip || !app.space) return;
    const { state } = app.store, [u, v] = map.port.toPlane(...at);
    if (grip.kind === "point") {
      app.store.set({ z: app.space.plane.moved(state.z, u, v) }, false);
      act.dragged(...at, false);
    } else {
      const { index } = grip;
      const pins = state.pins.map((pin, i) =>
        i === index ? { z: /** @type {any} */ (app.space).plane.moved(pin.z, u, v) } : pin);
      app.store.set({ pins }, false);
    }
  }

  /** @param {PointerEvent} event */
  function pinch(event) {
    const [a, b] = [...pointers.values()];
    const before = Math.hypot(a[0] - b[0], a[1] - b[1]);
    pointers.set(event.pointerId, place(event));
    const [c, d] = [...pointers.values()];
    const middle = /** @type {[number, number]} */ ([(c[0] + d[0]) / 2, (c[1] + d[1]) / 2]);
    map.port.view = map.port.panned(middle[0] - (a[0] + b[0]) / 2, middle[1] - (a[1] + b[1]) / 2);
    const factor = Math.hypot(c[0] - d[0], c[1] - d[1]) / Math.max(1, before);
    map.lookAt(map.port.zoomed(factor, ...middle));
  }

  /** @param {[number, number]} at */
  function letGo(at) {
    grip = null;
    map.dragging = false;
    canvas.dataset.hand = "";
    act.dragged(...at, true);
    app.store.commit();
    map.invalidate();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!app.space || event.button > 0) return;
    canvas.setPointerCapture(event.pointerId);
    const at = place(event);
    pointers.set(event.pointerId, at);
    if (pointers.size > 1) { if (grip) letGo(at); return; }
    const found = under(at, event.pointerType === "touch" ? 28 : 17);
    const kind = event.shiftKey ? "point" : found?.kind ?? "pan";
    grip = { kind, index: found?.index ?? -1, from: at, moved: false };
    map.dragging = kind === "point";
    canvas.dataset.hand = "drag";
    map.hover = -1;
    act.hovered(-1, 0, 0);
    if (event.shiftKey) moveGrip(at);
    map.invalidate();
  });

  canvas.addEventListener("pointermove", (event) => {
    const at = place(event), before = pointers.get(event.pointerId);
    if (!before) { if (event.pointerType !== "touch") look(at); return; }
    if (pointers.size > 1) { pinch(event); return; }
    if (!grip) return;
    grip.moved ||= Math.hypot(at[0] - grip.from[0], at[1] - grip.from[1]) > CLICK;
    if (!grip.moved) return;
    if (grip.kind === "pan")
      map.lookAt(map.port.panned(at[0] - before[0], at[1] - before[1]));
    else moveGrip(at);
    pointers.set(event.pointerId, at);
  });

  /** @param {[number, number]} at */
  function look(at) {
    const found = under(at, 17), item = found ? -1 : map.dotAt(...at, 10);
    canvas.dataset.hand = found || item >= 0 ? "point" : "";
    if (item !== map.hover) { map.hover = item; map.invalidate(); }
    act.hovered(item, ...at);
  }

  /** @param {PointerEvent} event */
  function release(event) {
    if (!pointers.delete(event.pointerId)) return;
    const [left] = pointers.values();
    // One of two fingers was lifted: the other one continues to pan.
    if (!grip) { if (pointers.size === 1) grip = { kind: "pan", index: -1, from: left, moved: true }; return; }
    const { kind, moved, index } = grip, at = place(event);
    if (!moved && event.type === "pointerup") click(kind, index, at);
    letGo(at);
  }

  /** @param {string} kind @param {number} index @param {[number, number]} at */
  function click(kind, index, at) {
    const { state } = app.store;
    if (kind === "pin") { app.store.set({ z: state.pins[index].z }); return; }
    if (kind !== "pan" || !app.space) return;
    const item = map.dotAt(...at, 10);
    if (item >= 0) act.goTo(item);
    else app.store.set({ z: app.space.plane.moved(state.z, ...map.port.toPlane(...at)) });
  }
  canvas.addEventListener("dblclick", (event) => {
    const at = place(event), item = map.dotAt(...at, 10);
    if (item >= 0) act.pinItem(item);
    else if (under(at, 17)?.kind !== "pin") app.pinHere();
  });
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => { map.hover = -1; act.hovered(-1, 0, 0); map.invalidate(); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const factor = Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016) * (event.deltaMode ? 20 : 1));
    map.lookAt(map.port.zoomed(factor, ...place(event)));
  }, { passive: false });
}
