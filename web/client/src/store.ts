/** Where a session is kept between reloads. */

import { createStore, del, get, set } from "idb-keyval";
import type { Session } from "./rules/renewal.js";

/** Keeps at most one session. The key in it is a `CryptoKey`: it takes a store of structured clones, not of text. */
export interface SessionStore {
  load(): Promise<Session | undefined>;
  save(session: Session): Promise<void>;
  clear(): Promise<void>;
}

/** Returns a store that forgets when the page or the program ends. */
export function memoryStore(): SessionStore {
  let kept: Session | undefined;
  return {
    load: async () => kept,
    save: async (session) => {
      kept = session;
    },
    clear: async () => {
      kept = undefined;
    },
  };
}

/**
 * Returns a store in IndexedDB, which outlives the page and is shared by the tabs of an origin.
 *
 * @param name - sessions under different names know nothing of each other; the client takes its gateway's address
 */
export function indexedDbStore(name: string): SessionStore {
  const store = createStore("scoreboard-client", "sessions");
  return {
    load: () => get<Session>(name, store),
    save: (session) => set(name, session, store),
    clear: () => del(name, store),
  };
}

/** Returns the store that fits the place: IndexedDB where it can be opened (a private window may forbid it). */
export async function usualStore(name: string): Promise<SessionStore> {
  if (!("indexedDB" in globalThis)) {
    return memoryStore();
  }
  try {
    const store = indexedDbStore(name);
    await store.load();
    return store;
  } catch {
    return memoryStore();
  }
}
