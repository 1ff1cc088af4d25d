// Builds the page: state from the link, the model, the parts, and their connections.

import { App } from "./app.js";
import { bindChrome, bindPanels, showChrome } from "./chrome.js";
import { theme } from "./colours.js";
import { pulse } from "./connect.js";
import { byId } from "./dom.js";
import { bindFind } from "./find.js";
import { bindHand } from "./hand.js";
import { bindHere } from "./here.js";
import { bindKeys } from "./keys.js";
import { settled } from "./latest.js";
import { fromFragment, toFragment } from "./link.js";
import { listModels } from "./latents.js";
import { LatentMap } from "./map.js";
import { Mix } from "./mix.js";
import { forgetInk } from "./pixels.js";
import { Sliders } from "./sliders.js";
import { EMPTY, Store } from "./store.js";
import { ImagePanel } from "./image-panel.js";
import { Pins } from "./pins.js";
import { clearNotice, remark, showEmpty, watchPulse } from "./notify.js";

const RETRY = 3000;

const store = new Store((await fromFragment(location.hash.slice(1))) ?? EMPTY);
const app = new App(store);
const map = new LatentMap(byId("map"), app);
const sliders = new Sliders(byId("panel-sliders"), app);
const imagePanel = new ImagePanel(byId("panel-image"), app);
const mix = new Mix(byId("panel-mix"), app);
const pins = new Pins(app);
const here = bindHere(app, map);
app.redraw = () => map.invalidate();

const writeLink = settled(async () => {
  if (store.state.model) history.replaceState(null, "", `#${await toFragment(store.state)}`);
}, 400);

async function share() {
  history.replaceState(null, "", `#${await toFragment(store.state)}`);
  try {
    await navigator.clipboard.writeText(location.href);
    remark("Copied. The link contains the model, the point, the pins, the drawing and the view.");
  } catch {
    remark("The address of this page now contains the whole state: copy it from there.");
  }
}

let shownLabel = store.state.label;

/** The class was changed: all that was decoded is of another one. @param {import("./store.js").State} state */
function relabel(state) {
  shownLabel = state.label;
  map.tiles?.move();
  app.decodeHere(state.z);
  sliders.follow();
  imagePanel.judge(true);
}

store.watch((state, changed) => {
  if (changed.has("pins")) imagePanel.splicing.follow();
  if (state.label !== shownLabel) relabel(state);
  showChrome(app);
  map.invalidate();
  if (changed.has("z")) app.decodeHere(state.z);
  if (changed.has("z") || changed.has("panel")) sliders.follow();
  imagePanel.follow();
  mix.follow();
  pins.follow();
  here.follow();
  writeLink();
});

app.onSpace(() => {
  map.reset();
  sliders.build();
  imagePanel.build();
  mix.follow();
  pins.follow();
  showChrome(app);
  here.follow();
});

const switchTheme = theme(() => {
  forgetInk();
  map.recolour();
  pins.repaint();
  sliders.follow();
  imagePanel.repaint();
  mix.repaint();
  here.repaint();
});

bindHand(map, here);
bindPanels(app);
bindFind(app);
bindChrome(app, map, { share, switchTheme, choose: (model) => app.enter(model).catch(app.trouble) });
bindKeys(app, map, { draw: () => pins.draw(), play: () => mix.toggle(), share });
watchPulse(lookAgain, () => {
  if (app.space) store.set({ z: store.state.z }, false);
  app.loadImages();
});
pulse.addEventListener("failure", (event) => {
  // The version that was shown was removed: show its successor, if there is one.
  if (/** @type {CustomEvent} */ (event).detail.error.code === "not_found") setTimeout(begin, RETRY);
});

/** Tries again until the server answers. */
function lookAgain() {
  if (app.space) setTimeout(() => listModels().catch(lookAgain), RETRY);
}

/** Finds a model to show; looks again until there is one. */
async function begin() {
  let found;
  try {
    found = await listModels();
  } catch (error) {
    app.trouble(error);
    setTimeout(begin, RETRY);
    return;
  }
  const ready = found.models.filter((model) => model.state === "MODEL_STATE_READY" && !model.unshown);
  app.models = ready;
  const { state } = store;
  const model = ready.find(({ name, version }) => name === state.model && version === state.version)
    ?? ready.find(({ name }) => name === (state.model || found.standard)) ?? ready[0];
  if (!model) {
    showEmpty(found.models);
    setTimeout(begin, RETRY);
    return;
  }
  clearNotice();
  await app.enter(model).catch(app.trouble);
}
await begin();
