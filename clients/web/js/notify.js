// Messages at the top of the page.

import { CallError, pulse, setToken } from "./connect.js";
import { byId, make } from "./dom.js";

/** @type {Record<string, string>} */
const TEXTS = {
  unavailable: "The server does not answer.",
  deadline_exceeded: "The server took too long to answer.",
  resource_exhausted: "The server is overloaded. Try again in a moment.",
  permission_denied: "This token is not allowed to call the models.",
  not_found: "The server no longer has this model.",
};

const STALE = 15_000; // milliseconds after which a figure is of the past

let timer = 0;

/** @param {...(Node | string)} parts */
function put(...parts) {
  const notice = byId("notice");
  notice.replaceChildren(...parts);
  notice.hidden = false;
  clearTimeout(timer);
  return notice;
}

export function clearNotice() {
  byId("notice").hidden = true;
}

/** A short remark that goes away by itself. @param {string} text */
export function remark(text) {
  put(text).dataset.mood = "word";
  timer = window.setTimeout(clearNotice, 4000);
}

/** @param {unknown} error */
export function notify(error) {
  if (!(error instanceof CallError)) {
    console.error(error);
    put(`Something in this page failed: ${error instanceof Error ? error.message : error}`).dataset.mood = "";
    return;
  }
  if (error.code === "unauthenticated") { askForToken(); return; }
  const known = TEXTS[error.code];
  put(known ?? `The server refused: ${error.message}`).dataset.mood = "";
  if (error.code !== "unavailable") timer = window.setTimeout(clearNotice, 8000);
}

function askForToken() {
  const field = make("input", { type: "password", autocomplete: "off", "aria-label": "Access token" });
  const enter = () => { setToken(field.value.trim()); location.reload(); };
  field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => { if (event.key === "Enter") enter(); });
  put("This server requires a token. ", field, make("button.small", { onclick: enter }, "Use it")).dataset.mood = "word";
}

/** @param {import("./latents.js").Model[]} models none of them ready */
export function showEmpty(models) {
  const unshown = models.filter((model) => model.unshown);
  if (unshown.length) {
    put("No model of this server can be shown here. ", ...unshown.map(({ name, unshown: why }) => make("span", {}, `${name} ${why}. `))).dataset.mood = "word";
    return;
  }
  const failed = models.filter((model) => model.state === "MODEL_STATE_FAILED");
  if (!failed.length) {
    put(models.length ? "The models are still being loaded. This page tries again by itself."
      : "This server has no model yet. Export one into its repository: ",
      ...(models.length ? [] : [make("code", {}, "latens-export RUN --repository models --name NAME")])).dataset.mood = "word";
    return;
  }
  put("No model can be served. ", ...failed.map((model) =>
    make("span", {}, `${model.name} version ${model.version}: ${model.stateReason || "refused"}. `))).dataset.mood = "";
}

/**
 * Shows how long the answers take, and whether there are any.
 * @param {() => void} lost told once when they stop @param {() => void} revived and when they come again
 */
export function watchPulse(lost, revived) {
  const chip = byId("pulse"), text = byId("latency");
  let dead = false, smooth = 0, aging = 0;
  pulse.addEventListener("hand", (event) => {
    const { ms } = /** @type {CustomEvent} */ (event).detail;
    smooth = smooth && smooth < 8 * ms ? smooth * 0.7 + ms * 0.3 : ms;
    text.textContent = `${smooth < 10 ? smooth.toFixed(1) : Math.round(smooth)} ms`;
    delete chip.dataset.stale;
    clearTimeout(aging);
    aging = window.setTimeout(() => { chip.dataset.stale = ""; }, STALE);
  });
  pulse.addEventListener("answer", () => {
    chip.dataset.mood = "";
    if (dead) { dead = false; clearNotice(); revived(); }
  });
  pulse.addEventListener("failure", (event) => {
    const { error } = /** @type {CustomEvent} */ (event).detail;
    if (error.code !== "unavailable" && error.code !== "deadline_exceeded") return;
    chip.dataset.mood = "dead";
    text.textContent = "no answer";
    if (dead) return;
    dead = true;
    lost();
  });
}
