/** What ends a wait for the next try early. */

/** Returns a signal that fires with the given one, and when the network or the reader comes back. */
export function wakeSignal(signal: AbortSignal): { signal: AbortSignal; release: () => void } {
  const own = new AbortController();
  const wake = () => own.abort();
  const wakeIfSeen = () => {
    if (document.visibilityState === "visible") {
      wake();
    }
  };
  // Node has neither.
  const page = globalThis.document as Document | undefined;
  const window = globalThis.window as Window | undefined;
  signal.addEventListener("abort", wake);
  window?.addEventListener("online", wake);
  page?.addEventListener("visibilitychange", wakeIfSeen);
  const release = () => {
    signal.removeEventListener("abort", wake);
    window?.removeEventListener("online", wake);
    page?.removeEventListener("visibilitychange", wakeIfSeen);
  };
  return { signal: own.signal, release };
}
