// The image at the point, beside the map and at the pointer; the card of the hovered dot.

import { byId, make } from "./dom.js";
import { saveNpy, savePng } from "./save.js";

const CARD_WIDTH = 98, CARD_HEIGHT = 128;
const NEIGHBOURS = 7;
const WHOLE = 64; // coordinates beyond which a latent is abridged

/** @param {import("./app.js").App} app @param {import("./map.js").LatentMap} map */
export function bindHere(app, map) {
  const picture = byId("here"), card = byId("card"), stage = card.parentElement;
  const cardCanvas = card.querySelector("canvas"), caption = card.querySelector("figcaption");
  let dragging = false, hovered = -1, shown = "";

  byId("pin").addEventListener("click", () => app.pinHere());
  byId("centre").addEventListener("click", () => app.centre());
  byId("here-png").addEventListener("click", () => {
    if (app.here && app.space) savePng(app.here, app.space.model.imageShape, 1, "image.png");
  });
  byId("here-npy").addEventListener("click", () => {
    if (app.space) saveNpy(Float32Array.from(app.store.state.z), [1, ...app.space.model.latentShape], "latent.npy");
  });

  function paint() {
    if (!app.here) return;
    app.show(picture, app.here);
    if (dragging) app.show(cardCanvas, app.here);
  }
  app.onHere(() => { paint(); showNearest(); });

  /** @param {number} x @param {number} y */
  function placeCard(x, y) {
    const left = x + 24 + CARD_WIDTH > stage.clientWidth ? x - 24 - CARD_WIDTH : x + 24;
    const top = Math.max(6, Math.min(stage.clientHeight - CARD_HEIGHT, y - CARD_HEIGHT * 0.7));
    card.style.transform = `translate(${left}px, ${top}px)`;
    card.hidden = false;
  }

  /** The nearest test images; a click goes to one. */
  function showNearest() {
    const { space } = app, { z } = app.store.state, embeddings = space?.embeddings;
    const known = Boolean(embeddings?.images) && z.length === space?.model.latentSize;
    // It keeps its place, so that nothing moves under the hand when the images arrive.
    byId("neighbours-here").style.visibility = known ? "" : "hidden";
    if (!space || !embeddings || !known) return;
    const items = embeddings.nearest(z, NEIGHBOURS), wanted = items.join();
    if (wanted === shown) return;
    shown = wanted;
    byId("neighbours").replaceChildren(...items.map((item) => {
      const canvas = make("canvas"), image = embeddings.image(item, space.model.imageShape), label = embeddings.label(item);
      if (image) app.show(canvas, image);
      return make("button", { title: `Go to test image ${item}${label >= 0 ? `: ${embeddings.name(label)}` : ""}`, onclick: () => app.store.set({ z: embeddings.mean(item) }) },
        canvas, ...(label >= 0 ? [make("span", {}, embeddings.name(label))] : []));
    }));
  }

  return {
    repaint() {
      shown = "";
      paint();
      showNearest();
    },

    follow() {
      const { z } = app.store.state;
      byId("where").textContent = `z = ${z.slice(0, WHOLE).map((x) => x.toFixed(2)).join("  ")}${z.length > WHOLE ? ` … (${z.length} numbers)` : ""}`;
      showNearest();
    },

    /** @param {number} item */
    goTo(item) {
      const z = app.space?.embeddings?.mean(item);
      if (z) app.store.set({ z });
    },

    /** @param {number} item */
    pinItem(item) {
      const z = app.space?.embeddings?.mean(item);
      if (z) app.pin({ z, item }, { z });
    },

    /** @param {number} item @param {number} x @param {number} y */
    hovered(item, x, y) {
      if (dragging) return;
      const { space } = app;
      if (item < 0 || !space?.embeddings) { card.hidden = true; hovered = -1; return; }
      if (item !== hovered || cardCanvas.hidden) { // the images arrive after the means
        const image = space.embeddings.image(item, space.model.imageShape), label = space.embeddings.label(item);
        if (image) app.show(cardCanvas, image);
        cardCanvas.hidden = !image;
        caption.textContent = `test image ${item}${label >= 0 ? `: ${space.embeddings.name(label)}` : ""}`;
        hovered = item;
      }
      placeCard(x, y);
    },

    /** @param {number} x @param {number} y @param {boolean} done */
    dragged(x, y, done) {
      byId("map-hint").classList.add("gone");
      dragging = !done;
      card.hidden = done;
      if (done) return;
      cardCanvas.hidden = false;
      caption.textContent = app.store.state.z.length <= 3 ? app.store.state.z.map((v) => v.toFixed(2)).join("  ") : "decoded";
      paint();
      placeCard(x, y);
    },
  };
}
