/** What the parts of the page are told by the world: time, address, network, boards, the player. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { type Board, Client, type LeaderboardUpdate, type Player, type WatchState } from "scoreboard-client";
import { type Address, format, parse } from "./address";

export const client = new Client();

const BOARDS_AGAIN_MS = 5_000;
const PLAYERS_AGAIN_MS = 10_000;

/** The time, every second. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

/** The page's address, and what leads to another board or period. */
export function useAddress(): [Address, (board: string, period?: string) => void] {
  const [search, setSearch] = useState(location.search);
  useEffect(() => {
    const read = () => setSearch(location.search);
    addEventListener("popstate", read);
    return () => removeEventListener("popstate", read);
  }, []);
  const go = (board: string, period = "") => {
    history.pushState(null, "", format(location.search, board, period));
    setSearch(location.search);
  };
  return [useMemo(() => parse(search), [search]), go];
}

/** Whether this device has a network at all. */
export function useOnline(): boolean {
  const [isOnline, setOnline] = useState(navigator.onLine);
  useEffect(() => {
    const read = () => setOnline(navigator.onLine);
    addEventListener("online", read);
    addEventListener("offline", read);
    return () => {
      removeEventListener("online", read);
      removeEventListener("offline", read);
    };
  }, []);
  return isOnline;
}

/** Who is signed in; undefined until that is known. */
export function usePlayer(): Player | null | undefined {
  const [player, setPlayer] = useState<Player | null>();
  useEffect(() => {
    void client.restore().then(setPlayer);
    return client.onPlayer(setPlayer);
  }, []);
  return player;
}

/** The boards with their periods; undefined until they are there. since: when it changes, they are asked for anew. */
export function useBoards(since: string): Board[] | undefined {
  const [boards, setBoards] = useState<Board[]>();
  useEffect(() => untilGone(async (signal) => setBoards(await client.boards({ signal })), BOARDS_AGAIN_MS), [since]);
  return boards;
}

/** How many players a board has. rows: those shown, which are all there are when they are fewer than the limit. */
export function usePlayers(board: string, period: string, rows: number, limit: number): number {
  const [players, setPlayers] = useState(0);
  const isFull = rows >= limit;
  useEffect(() => {
    const ask = async (signal: AbortSignal) => setPlayers((await client.top(1, { board, period, signal })).players);
    return isFull ? untilGone(ask, PLAYERS_AGAIN_MS, PLAYERS_AGAIN_MS) : setPlayers(0);
  }, [board, period, isFull]);
  return isFull ? Math.max(players, rows) : rows;
}

/** Does it until it succeeds, and every `againMs` then if given. Returns what ends that. */
export function untilGone(work: (signal: AbortSignal) => Promise<void>, failedMs: number, againMs?: number) {
  const gone = new AbortController();
  let timer: ReturnType<typeof setTimeout>;
  let hasWorked = false;
  const run = async () => {
    let waitMs = againMs;
    try {
      // Nobody looks: it keeps until somebody does.
      if (!hasWorked || document.visibilityState === "visible") {
        await work(gone.signal);
        hasWorked = true;
      }
    } catch {
      waitMs = failedMs; // the connection's state is shown by the watch
    }
    if (waitMs !== undefined && !gone.signal.aborted) {
      timer = setTimeout(run, waitMs);
    }
  };
  void run();
  return () => {
    clearTimeout(timer);
    gone.abort();
  };
}

/** A live board and how it is doing. */
export interface Live {
  readonly board: LeaderboardUpdate | undefined;
  readonly state: WatchState;
  /** When it was last known to be the board as it is, unix ms. */
  readonly goodAtMs: number;
}

const NOTHING: Live = {
  board: undefined,
  state: { phase: "connecting", by: "websocket", isFallback: false },
  goodAtMs: 0,
};

/** Watches a board. The second value begins anew, at once. name: empty: none. */
export function useLive(name: string, limit: number): [Live, () => void] {
  const [live, setLive] = useState(NOTHING);
  const [tries, setTries] = useState(0);
  useEffect(() => {
    if (name === "") {
      return;
    }
    const watch = client.watch({ board: name, limit, me: true });
    setLive((last) => (last.board?.board === name ? last : NOTHING));
    watch.onState((state) => {
      const wasGood = (last: Live) => last.state.phase === "live" && state.phase !== "live";
      setLive((last) => ({ ...last, state, goodAtMs: wasGood(last) ? Date.now() : last.goodAtMs }));
    });
    watch.onBoard((board) => setLive((last) => ({ ...last, board })));
    return () => watch.close();
  }, [name, limit, tries]);
  return [live, () => setTries((n) => n + 1)];
}
