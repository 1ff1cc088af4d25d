// While a call is in progress, only the newest of the later requests is kept.

/**
 * @template A
 * @param {(argument: A) => Promise<void>} work
 * @param {(error: unknown) => void} fail
 * @returns {(argument: A) => void}
 */
export function latest(work, fail) {
  let busy = false;
  /** @type {{argument: A} | null} */
  let waiting = null;

  /** @param {A} argument */
  async function run(argument) {
    busy = true;
    try {
      await work(argument);
    } catch (error) {
      fail(error);
    }
    busy = false;
    if (waiting) {
      const next = waiting.argument;
      waiting = null;
      run(next);
    }
  }
  return (argument) => {
    if (busy) waiting = { argument };
    else run(argument);
  };
}

/**
 * Calls `work` once, `ms` after the last of a burst.
 * @param {() => void} work @param {number} ms
 */
export function settled(work, ms) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = window.setTimeout(work, ms);
  };
}
