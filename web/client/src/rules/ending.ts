/** Decides what follows when a stream ends or refuses. Pure; docs/streams.md lists the endings. */

import { type Reason, ScoreboardError } from "../error.js";

/** How one stream ended: `final` when a reconnect cannot mend it. */
export interface Ending {
  readonly isFinal: boolean;
  readonly error?: ScoreboardError | undefined;
}

const PASSING: Ending = { isFinal: false };

/** WebSocket close codes after which a reconnect meets the same. */
const FINAL_CODES: ReadonlyMap<number, Reason> = new Map<number, Reason>([
  [1002, "INVALID_ARGUMENT"],
  [1007, "INVALID_ARGUMENT"],
  [1009, "TOO_LARGE"],
  [4003, "SESSION_REVOKED"],
]);

/** Returns what a WebSocket's close code means. */
export function endingOfClose(code: number, text: string): Ending {
  const reason = FINAL_CODES.get(code);
  return reason === undefined
    ? PASSING
    : { isFinal: true, error: new ScoreboardError(text || `The stream ended with ${code}.`, { reason }) };
}

/** Returns what a refusal of the board means: what is wrong with the wish stays wrong. */
export function endingOf(error: ScoreboardError): Ending {
  return { isFinal: WRONG_WISH.has(error.reason), error };
}

const WRONG_WISH: ReadonlySet<Reason> = new Set<Reason>(["INVALID_ARGUMENT", "UNKNOWN_BOARD", "NOT_FOUND"]);

/**
 * What an error frame on a WebSocket asks for.
 *
 * - `renew`: the token is over; send a new one. `forget`: watch on without the own place.
 * - `wait`: the board comes once it can be read. `end`: the stream is of no use.
 */
export type Answer = "renew" | "forget" | "wait" | "end";

/** Returns what follows from an error frame. */
export function answerTo(reason: Reason): Answer {
  switch (reason) {
    case "TOKEN_EXPIRED":
      return "renew";
    case "TOKEN_INVALID":
    case "TOKEN_MISSING":
    case "SESSION_REVOKED":
    case "SERVICE_AWAY":
      return "forget";
    case "LEADERBOARD_UNAVAILABLE":
      return "wait";
    default:
      return "end";
  }
}
