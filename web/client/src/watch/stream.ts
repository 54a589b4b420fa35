/** What the ways to a live board have in common. */

import type { Services } from "../calls.js";
import type { ScoreboardError } from "../error.js";
import type { LeaderboardUpdate } from "../gen/scoreboard/v1/stream_pb.js";
import type { Ending } from "../rules/ending.js";
import type { Sessions } from "../sessions.js";

/** What is watched. */
export interface Wish {
  readonly board: string;
  /** Rows, 1 to 100. */
  readonly limit: number;
  /** Whether the own place comes along. */
  readonly me: boolean;
}

/** What a way needs of its client. */
export interface Surroundings {
  readonly url: string;
  readonly services: Services;
  readonly sessions: Sessions;
  readonly WebSocket: typeof WebSocket | undefined;
  /** The watches that are connected, or try to be. */
  readonly running: Set<{ close(): void }>;
}

/** Where a way tells what it gets. */
export interface Listener {
  /** The version that is shown; 0: nothing. */
  readonly version: number;
  frame(frame: LeaderboardUpdate): void;
  /** A sign of life that brings no board, or why the board is not there yet. */
  alive(error?: ScoreboardError): void;
}

/** Watches until the stream ends or the signal fires, and tells how it ended. Never throws. */
export type Stream = (wish: Wish, around: Surroundings, to: Listener, signal: AbortSignal) => Promise<Ending>;

/** Calls the listener when another player is signed in than before, or none. Returns what ends that. */
export function onOtherPlayer(sessions: Sessions, listener: () => void): () => void {
  let userId = sessions.player?.userId;
  return sessions.onPlayer((player) => {
    if (player?.userId !== userId) {
      userId = player?.userId;
      listener();
    }
  });
}
