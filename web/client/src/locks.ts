/** One at a time, over all tabs of an origin where the browser can do that. */

/** Runs something while nobody else runs under the same name. */
export type Exclusive = <T>(work: () => Promise<T>) => Promise<T>;

/** Returns a lock of this name: `navigator.locks` where there is one, else one within this page or program. */
export function exclusive(name: string): Exclusive {
  const locks: LockManager | undefined = globalThis.navigator?.locks;
  if (locks !== undefined) {
    return async (work) => await locks.request(name, work);
  }
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const mine = last.then(work, work);
    last = mine.catch(() => undefined);
    return mine;
  };
}
