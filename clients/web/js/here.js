// The image at the point, beside the map and at the pointer; the card of the hovered dot.

import { byId } from "./dom.js";
import { saveNpy, savePng } from "./save.js";

const CARD_WIDTH = 98, CARD_HEIGHT = 128;

/** @param {import("./app.js").App} app @param {import("./map.js").LatentMap} map */
export function bindHere(app, map) {
  const picture = byId("here"), card = byId("card"), stage = card.parentElement;
  const cardCanvas = card.querySelector("canvas"), caption = card.querySelector("figcaption");
  let dragging = false, hovered = -1;

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
  app.onHere(paint);

  /** @param {number} x @param {number} y */
  function placeCard(x, y) {
    const left = x + 24 + CARD_WIDTH > stage.clientWidth ? x - 24 - CARD_WIDTH : x + 24;
    const top = Math.max(6, Math.min(stage.clientHeight - CARD_HEIGHT, y - CARD_HEIGHT * 0.7));
    card.style.transform = `translate(${left}px, ${top}px)`;
    card.hidden = false;
  }

  function showNearest() {
    const { space } = app, { z } = app.store.state;
    if (!space?.embeddings || z.length !== space.model.latentSize) { byId("nearest").textContent = ""; return; }
    const { item } = space.embeddings.nearest(z);
    const label = space.embeddings.label(item);
    byId("nearest").textContent = label >= 0 ? `nearest test image: a\u00a0${label}` : "";
  }

  return {
    repaint: paint,

    follow() {
      const { z } = app.store.state;
      byId("where").textContent = `z = ${z.slice(0, 12).map((x) => x.toFixed(2)).join("  ")}${z.length > 12 ? " …" : ""}`;
      showNearest();
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
        caption.textContent = `test image ${item}${label >= 0 ? `: ${label}` : ""}`;
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
