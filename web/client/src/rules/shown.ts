/** Decides which frames of a board are shown: never one that is older than what is there. Pure. */

import type { LeaderboardUpdate } from "../gen/scoreboard/v1/stream_pb.js";

/** What is shown of a board. */
export interface Shown {
  readonly period: string;
  readonly version: number;
}

/**
 * - `show`: it is the board now. `beat`: a sign of life alone. `stale`: older than what is shown.
 * - `reset`: the server's newest is older than what is shown, or of another period, whose board at the same version it
 *   took for known: reconnect and start over.
 */
export type Verdict = "show" | "beat" | "stale" | "reset";

/** Returns what a frame is, given what is shown. Version 0 is a board from Postgres, of a server that showed none. */
export function judge(shown: Shown | undefined, frame: LeaderboardUpdate): Verdict {
  const isOlder =
    shown !== undefined && frame.period === shown.period && frame.version !== 0 && frame.version < shown.version;
  if (frame.heartbeat) {
    return isOlder || (shown !== undefined && frame.period !== shown.period) ? "reset" : "beat";
  }
  return isOlder ? "stale" : "show";
}

/** Returns what is shown after this frame; within a period its version never falls. */
export function after(shown: Shown | undefined, frame: LeaderboardUpdate): Shown {
  const before = shown?.period === frame.period ? shown.version : 0;
  return { period: frame.period, version: Math.max(before, frame.version) };
}
