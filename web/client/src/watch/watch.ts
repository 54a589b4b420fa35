/**
 * A live board: connects while somebody listens, and comes back quietly whenever the connection is lost.
 *
 * When and how it connects, `rules/plan` decides; what it shows, `rules/shown`.
 */

import type { ScoreboardError } from "../error.js";
import type { LeaderboardUpdate } from "../gen/scoreboard/v1/stream_pb.js";
import { Listeners } from "../listeners.js";
import { pause } from "../repeat.js";
import type { Ending } from "../rules/ending.js";
import { afterBreak, afterFailure, type Plan, reconnectWaitS, START, type Way } from "../rules/plan.js";
import { after, judge, type Shown } from "../rules/shown.js";
import { byPolling } from "./polling.js";
import { bySse } from "./sse.js";
import type { Listener, Stream, Surroundings, Wish } from "./stream.js";
import { wakeSignal } from "./wake.js";
import { byWebSocket } from "./websocket.js";

const STREAMS: Readonly<Record<Way, Stream>> = { websocket: byWebSocket, sse: bySse, polling: byPolling };
const FIRST_FRAME_S = 10; // it comes at once; a proxy that swallows streams sends nothing
const SILENCE_S = 30; // heartbeats come every 10 s (docs/streams.md)

/** How a watch is doing. */
export interface WatchState {
  /**
   * - `idle`: nobody listens. `connecting`: the first board, or a quick return, is on its way.
   * - `live`: what is shown is the board as it is. `offline`: the last try failed; the next comes by itself.
   * - `ended`: a reconnect cannot mend it; `error` says why.
   */
  readonly phase: "idle" | "connecting" | "live" | "offline" | "ended";
  /** The way in use, or tried. */
  readonly by: Way;
  /** True when that is not the preferred way. */
  readonly isFallback: boolean;
  /** While `offline`: when the next try comes, unix milliseconds. */
  readonly retryAtMs?: number;
  /** Why it is `offline` or `ended`, or why the board is not there yet. */
  readonly error?: ScoreboardError | undefined;
}

/**
 * A board to watch: iterate it, or give it listeners. It connects with the first and disconnects with the last of them.
 *
 * Boards are state, not events: who is slow gets the newest one, never a backlog. Heartbeats are left out.
 */
export class Watch implements AsyncIterable<LeaderboardUpdate> {
  private readonly boardListeners = new Listeners<LeaderboardUpdate>();
  private readonly stateListeners = new Listeners<WatchState>();
  private shown: Shown | undefined;
  private last: LeaderboardUpdate | undefined;
  private current: WatchState;
  private plan: Plan = START;
  private running: AbortController | undefined;

  constructor(
    private readonly wish: Wish,
    private readonly ways: readonly [Way, ...Way[]],
    private readonly around: Surroundings,
  ) {
    this.current = { phase: "idle", by: ways[0], isFallback: false };
  }

  /** How it is doing right now. */
  get state(): WatchState {
    return this.current;
  }

  /** The newest board, if there is one yet. */
  get board(): LeaderboardUpdate | undefined {
    return this.last;
  }

  /** Calls the listener with the board as it is and after each change. Returns what ends that. */
  onBoard(listener: (board: LeaderboardUpdate) => void): () => void {
    const forget = this.boardListeners.add(listener);
    if (this.last !== undefined && this.running !== undefined) {
      listener(this.last);
    }
    this.start();
    return () => {
      forget();
      if (this.boardListeners.size === 0) {
        this.stop();
      }
    };
  }

  /** Calls the listener with the state as it is and after each change. Returns what ends that. */
  onState(listener: (state: WatchState) => void): () => void {
    listener(this.current);
    return this.stateListeners.add(listener);
  }

  /** Yields the board at once and after each change. Throws ScoreboardError when the watch ends, e.g. UNKNOWN_BOARD. */
  async *[Symbol.asyncIterator](): AsyncGenerator<LeaderboardUpdate, void, undefined> {
    let slot: LeaderboardUpdate | undefined;
    let wake = () => {};
    const stops = [
      this.onBoard((board) => {
        slot = board;
        wake();
      }),
      this.onState(() => wake()),
    ];
    try {
      while (this.running !== undefined || slot !== undefined) {
        if (slot === undefined) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        } else {
          const board = slot;
          slot = undefined;
          yield board;
        }
      }
      if (this.current.error !== undefined) {
        throw this.current.error;
      }
    } finally {
      for (const stop of stops) {
        stop();
      }
    }
  }

  /** Disconnects, and forgets all listeners; iterations end. */
  close(): void {
    this.boardListeners.clear();
    this.stop();
    this.stateListeners.clear();
  }

  private start(): void {
    if (this.running === undefined) {
      this.running = new AbortController();
      this.around.running.add(this);
      this.plan = START;
      void this.run(this.running.signal);
    }
  }

  private stop(): void {
    if (this.running !== undefined) {
      this.running.abort();
      this.running = undefined;
      this.around.running.delete(this);
      this.tell({ phase: "idle", by: this.ways[0], isFallback: false });
    }
  }

  private async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const at = this.way();
      if (this.current.phase !== "offline") {
        this.tell({ phase: "connecting", ...at });
      }
      const { hasWorked, ending } = await this.attempt(at.by, signal);
      if (signal.aborted) {
        return;
      }
      if (ending.isFinal) {
        this.running = undefined;
        this.around.running.delete(this);
        this.tell({ phase: "ended", ...at, error: ending.error });
        return;
      }
      await this.rest(hasWorked, ending.error, signal);
    }
  }

  /** Waits for the next try; a network that is back, and a page that is looked at again, end the wait. */
  private async rest(hasWorked: boolean, error: ScoreboardError | undefined, signal: AbortSignal): Promise<void> {
    this.plan = hasWorked ? afterBreak(this.plan) : afterFailure(this.plan, this.ways.length);
    const waitS = reconnectWaitS(this.plan, Math.random(), error?.retryAfterS);
    if (hasWorked) {
      this.tell({ phase: "connecting", ...this.way() });
    } else {
      this.tell({ phase: "offline", ...this.way(), retryAtMs: Date.now() + waitS * 1000, error });
    }
    const woken = wakeSignal(signal);
    await pause(waitS, woken.signal);
    woken.release();
  }

  private async attempt(by: Way, signal: AbortSignal): Promise<{ hasWorked: boolean; ending: Ending }> {
    const own = new AbortController();
    const abort = () => own.abort();
    signal.addEventListener("abort", abort);
    let silence = setTimeout(abort, FIRST_FRAME_S * 1000);
    let hasWorked = false;
    const alive = () => {
      clearTimeout(silence);
      silence = setTimeout(abort, SILENCE_S * 1000);
    };
    const shownVersion = () => this.shown?.version ?? 0;
    const listener: Listener = {
      get version() {
        return shownVersion();
      },
      frame: (frame) => {
        if (!own.signal.aborted) {
          alive();
          hasWorked = true;
          this.show(frame, abort);
        }
      },
      alive: (error) => {
        alive();
        if (error !== undefined && !own.signal.aborted) {
          this.tell({ ...this.current, error });
        }
      },
    };
    const ending = await STREAMS[by](this.wish, this.around, listener, own.signal);
    clearTimeout(silence);
    signal.removeEventListener("abort", abort);
    return { hasWorked, ending };
  }

  private show(frame: LeaderboardUpdate, reconnect: () => void): void {
    const verdict = judge(this.shown, frame);
    if (verdict === "reset") {
      this.shown = undefined;
      reconnect();
      return;
    }
    if (verdict === "show") {
      this.shown = after(this.shown, frame);
      this.last = { ...frame, version: this.shown.version, leaderboard: frame.leaderboard.slice(0, this.wish.limit) };
    }
    if (verdict !== "stale" && this.current.phase !== "live") {
      this.tell({ phase: "live", ...this.way() });
    }
    if (verdict === "show" && this.last !== undefined) {
      this.boardListeners.tell(this.last);
    }
  }

  private way(): { by: Way; isFallback: boolean } {
    return { by: this.ways[this.plan.at] ?? this.ways[0], isFallback: this.plan.at > 0 };
  }

  private tell(state: WatchState): void {
    this.current = state;
    this.stateListeners.tell(state);
  }
}
