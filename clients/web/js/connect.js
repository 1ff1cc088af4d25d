// One call of the Connect protocol: https://connectrpc.com/docs/protocol (unary, JSON).

const SERVICE = "latens.v1.LatentService";
const TOKEN_KEY = "latens-token";
const PAUSES = [200, 600, 1500]; // milliseconds before a call to a busy server is repeated

/** A failed call. `code` is Connect's: "unavailable", "invalid_argument", "unimplemented" … */
export class CallError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** Emits "answer" ({method, ms}), "failure" ({method, error}) and "hand" ({ms}: point to picture). */
export const pulse = new EventTarget();

/** @param {string} token bearer token, kept for this tab only; empty to forget it */
export function setToken(token) {
  if (token) sessionStorage.setItem(TOKEN_KEY, token);
  else sessionStorage.removeItem(TOKEN_KEY);
}

/** @returns {Record<string, string>} */
export function authorization() {
  const token = sessionStorage.getItem(TOKEN_KEY);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** HTTP statuses of proxies and servers that answer without a Connect error. */
const CODE_OF_STATUS = /** @type {Record<number, string>} */ ({
  401: "unauthenticated", 403: "permission_denied", 404: "unimplemented", 405: "unimplemented",
  413: "invalid_argument", 429: "resource_exhausted", 502: "unavailable", 503: "unavailable",
  504: "deadline_exceeded",
});

/** @param {Response} response */
async function errorOf(response) {
  const fallback = CODE_OF_STATUS[response.status] ?? "unknown";
  try {
    const body = await response.json();
    return new CallError(body.code ?? fallback, body.message ?? response.statusText);
  } catch {
    return new CallError(fallback, response.statusText || `HTTP ${response.status}`);
  }
}

/** The error of a request that no server answered. @param {unknown} reason */
export function networkError(reason) {
  const late = reason instanceof DOMException && reason.name === "TimeoutError";
  return late
    ? new CallError("deadline_exceeded", "the server took too long")
    : new CallError("unavailable", "the server does not answer");
}

/**
 * Calls one RPC of LatentService; a server that has too much to do is asked again.
 * @param {string} method @param {object} request @param {number} [timeout] milliseconds
 * @returns {Promise<any>} the response message as JSON
 * @throws {CallError}
 */
export async function call(method, request, timeout = 20_000) {
  for (const pause of [...PAUSES, 0]) {
    try {
      return await once(method, request, timeout);
    } catch (error) {
      if (!pause || !(error instanceof CallError) || error.code !== "resource_exhausted") {
        pulse.dispatchEvent(new CustomEvent("failure", { detail: { method, error } }));
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random())));
    }
  }
}

/** @param {string} method @param {object} request @param {number} timeout */
async function once(method, request, timeout) {
  const began = performance.now();
  const response = await fetch(`${SERVICE}/${method}`, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "Connect-Protocol-Version": "1",
      "Connect-Timeout-Ms": String(timeout),
      ...authorization(),
    },
    body: JSON.stringify(request),
    signal: AbortSignal.timeout(timeout + 500),
  }).catch((reason) => { throw networkError(reason); });
  if (!response.ok) throw await errorOf(response);
  const answer = await response.json().catch((reason) => { throw networkError(reason); });
  pulse.dispatchEvent(new CustomEvent("answer", { detail: { method, ms: performance.now() - began } }));
  return answer;
}
