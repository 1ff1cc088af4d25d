// Search by label: typing shows only the labels that match; Enter goes to the middle of their points.

import { byId } from "./dom.js";
import { remark } from "./notify.js";

/** @param {import("./app.js").App} app */
export function bindFind(app) {
  const field = byId("find");

  /** The labels whose names hold the text; null if there is no text. @returns {number[] | null} */
  function matching() {
    const embeddings = app.space?.embeddings, text = field.value.trim().toLowerCase();
    if (!embeddings || !text) return null;
    const exact = embeddings.kinds.filter((kind) => embeddings.name(kind).toLowerCase() === text);
    return exact.length ? exact : embeddings.kinds.filter((kind) => embeddings.name(kind).toLowerCase().includes(text));
  }

  field.addEventListener("input", () => {
    const found = matching(), kinds = app.space?.embeddings?.kinds ?? [];
    field.setAttribute("aria-invalid", String(found?.length === 0));
    app.store.set({ hidden: found?.length ? kinds.filter((kind) => !found.includes(kind)) : [] }, false);
  });
  field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") { field.value = ""; field.dispatchEvent(new Event("input")); }
    if (event.key !== "Enter") return;
    const found = matching(), embeddings = app.space?.embeddings;
    if (!found || !embeddings) return;
    if (found.length) app.store.set({ z: embeddings.middle(found) });
    else remark(`No label has ${field.value.trim()} in its name.`);
  });
}
