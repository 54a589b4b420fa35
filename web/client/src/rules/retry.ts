/**
 * Decides whether a call is repeated, and after which wait. Pure.
 *
 * Holds always: what is repeated is safe to repeat, and no wait goes past the deadline.
 */

import { isBroken, type ScoreboardError } from "../error.js";

/** Longest wait between two tries that the server did not ask for, seconds. */
export const WAIT_MAX_S = 1;
const WAIT_FIRST_S = 0.1;

/** Tells whether the same call may succeed in a moment: nothing in it was wrong. */
export function isPassing({ code, reason }: ScoreboardError): boolean {
  return code === "UNAVAILABLE" || code === "DEADLINE_EXCEEDED" || reason === "QUEUE_FULL" || isBroken(code, reason);
}

/**
 * Returns the seconds to wait before the next try, or `undefined` to give up.
 *
 * @param tries - how many have failed, at least 1
 * @param leftS - seconds until the deadline
 * @param random - 0 to 1: clients that failed together do not come back together
 */
export function waitBefore(error: ScoreboardError, tries: number, leftS: number, random: number): number | undefined {
  if (!isPassing(error)) {
    return undefined;
  }
  const backoffS = Math.min(WAIT_MAX_S, WAIT_FIRST_S * 2 ** (tries - 1));
  const waitS = (error.retryAfterS ?? 0) + backoffS * random;
  return waitS < leftS ? waitS : undefined;
}
