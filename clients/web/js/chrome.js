// The header, the tabs, the legend and the map's buttons.

import { labelColour } from "./colours.js";
import { byId, figure, make, press } from "./dom.js";
import { remark } from "./notify.js";
import { saveCanvas, saveText } from "./save.js";

/** @typedef {import("./app.js").App} App */

const PANELS = /** @type {const} */ (["sliders", "image", "mix"]);

/** @param {App} app */
export function bindPanels(app) {
  for (const [index, name] of PANELS.entries()) {
    const tab = byId(`tab-${name}`);
    tab.addEventListener("click", () => app.store.set({ panel: name }, false));
    tab.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const by = { ArrowLeft: 2, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.stopPropagation();
      const next = PANELS[(index + by) % 3];
      app.store.set({ panel: next }, false);
      byId(`tab-${next}`).focus();
    });
  }
}

/**
 * @param {App} app @param {import("./map.js").LatentMap} map
 * @param {{share(): void, switchTheme(): void, choose(model: import("./latents.js").Model): void}} act
 */
export function bindChrome(app, map, act) {
  const { store } = app;
  /** @type {Record<string, () => void>} */
  const clicks = {
    undo: () => store.undo(), redo: () => store.redo(), share: act.share, theme: act.switchTheme,
    help: () => byId("keys").showModal(),
    "zoom-in": () => map.lookAt(map.port.zoomed(1.5)),
    "zoom-out": () => map.lookAt(map.port.zoomed(1 / 1.5)),
    fit: () => store.set({ view: null }, false),
    tiles: () => store.set({ tiles: !store.state.tiles }, false),
    dots: () => store.set({ dots: !store.state.dots }, false),
    "map-save": () => saveCanvas(map.canvas, "map.png"),
    "map-tsv": () => { saveTables(app.space?.embeddings ?? null).catch((reason) => remark(String(reason.message))); },
  };
  for (const [id, work] of Object.entries(clicks)) byId(id).addEventListener("click", work);
  byId("class").addEventListener("change", () => store.set({ label: byId("class").selectedIndex }));
  byId("model").addEventListener("change", () => {
    const model = app.models[byId("model").selectedIndex];
    if (model) act.choose(model);
  });
}

/** @param {import("./test-embeddings.js").TestEmbeddings | null} embeddings */
async function saveTables(embeddings) {
  if (!embeddings) { remark("This model has no test images to save."); return; }
  const { vectors, metadata } = embeddings.tables();
  saveText(vectors, "vectors.tsv");
  saveText(metadata, "metadata.tsv");
  const umap = await embeddings.umapTable();
  if (umap) saveText(umap, "umap.tsv");
}

/** @param {App} app */
export function showChrome(app) {
  const { store, space } = app, { state } = store;
  byId("undo").disabled = store.past.length < 2;
  byId("redo").disabled = !store.future.length;
  press(byId("tiles"), state.tiles);
  press(byId("dots"), state.dots);
  for (const name of PANELS) {
    byId(`tab-${name}`).setAttribute("aria-selected", String(state.panel === name));
    byId(`tab-${name}`).tabIndex = state.panel === name ? 0 : -1;
    byId(`panel-${name}`).hidden = state.panel !== name;
  }
  if (!space) return;
  byId("dots").hidden = !space.embeddings;
  byId("find").hidden = !space.embeddings?.kinds.length;
  byId("axes").textContent = space.plane.axesText;
  showModels(app);
  showClasses(app);
  showLegend(app);
}

/** The classes of a conditional model. @param {App} app */
function showClasses(app) {
  const select = byId("class"), { labelCount, labelNames } = /** @type {import("./app.js").Space} */ (app.space).model;
  byId("classes").hidden = !labelCount;
  const names = Array.from({ length: labelCount }, (_, label) => labelNames[label] ?? String(label));
  if (names.join() !== select.dataset.names) {
    select.dataset.names = names.join();
    select.replaceChildren(...names.map((name) => make("option", {}, name)));
  }
  select.selectedIndex = app.store.state.label;
}

/** @param {App} app */
function showModels(app) {
  const select = byId("model"), { space } = app;
  if (!space) return;
  const names = app.models.map(({ name, version }) => `${name}  ·  v${version}`);
  if (names.join() !== select.dataset.names) {
    select.dataset.names = names.join();
    select.replaceChildren(...names.map((name) => make("option", {}, name)));
  }
  select.selectedIndex = app.models.findIndex(({ name, version }) => name === space.model.name && version === space.model.version);
  const { architecture, imageShape, latentSize, beta, metrics, dataset } = space.model;
  const parts = [`${dataset || "images"} ${imageShape.slice(1).join(" × ")}`, `${latentSize} latent ${latentSize === 1 ? "coordinate" : "coordinates"}`, beta ? `${architecture}, β = ${beta}` : architecture];
  if (metrics.elbo) parts.push(`ELBO ${figure(metrics.elbo, 1)} nats`);
  byId("facts").textContent = parts.join("  ·  ");
}

/** @param {App} app */
function showLegend(app) {
  const { store, space } = app, legend = byId("legend"), kinds = space?.embeddings?.kinds ?? [];
  const { hidden, dots } = store.state;
  legend.hidden = !dots || !kinds.length;
  const key = JSON.stringify([kinds, hidden, space?.model.labelNames]);
  if (legend.dataset.key === key) return;
  legend.dataset.key = key;
  legend.replaceChildren(...kinds.slice(0, 40).map((kind, index) => {
    const shown = !hidden.includes(kind), dot = make("i");
    dot.style.color = labelColour(index, kinds.length);
    const toggle = () => store.set({ hidden: shown ? [...hidden, kind] : hidden.filter((other) => other !== kind) }, false);
    const only = () => store.set({ hidden: hidden.length ? [] : kinds.filter((other) => other !== kind) }, false);
    return make("button.chip", { "aria-pressed": String(shown), title: "Show or hide; double click: only this", onclick: toggle, ondblclick: only }, dot, make("span", {}, space?.embeddings?.name(kind) ?? String(kind)));
  }));
}
