/**
 * Decides how a watch connects: by which way, after which wait. Pure; docs/streams.md says what servers promise.
 *
 * A way that never worked is given up after two tries for the next one. One that has worked is kept through an outage,
 * for it is the server that is away, not the way. A fallback that ends gives way to the first again.
 */

/** A way to a live board. */
export type Way = "websocket" | "sse" | "polling";

/** The ways in order of preference. */
export const WAYS: readonly Way[] = ["websocket", "sse", "polling"];

/** Longest wait between two tries, seconds. */
export const RECONNECT_MAX_S = 10;
const RECONNECT_WITHIN_S = 1; // of a stream that had worked: the watchers of a server that restarts spread over it
const TRIES = 2; // of a way that never worked
const TRIES_PROVEN = 8; // of one that did: about half a minute

/** Where a watch stands. */
export interface Plan {
  /** The way to try, as a place in the list of ways. */
  readonly at: number;
  /** Failures in a row, over all ways. */
  readonly failures: number;
  /** Failures in a row by this way. */
  readonly here: number;
  /** The way that brought a board last. */
  readonly proven: number | undefined;
}

export const START: Plan = { at: 0, failures: 0, here: 0, proven: undefined };

/** Returns the plan after a stream that had brought boards came to its end. */
export function afterBreak(plan: Plan): Plan {
  return plan.at === 0 ? { ...START, proven: 0 } : START;
}

/** Returns the plan after a try that brought nothing. */
export function afterFailure(plan: Plan, ways: number): Plan {
  const here = plan.here + 1;
  const failures = plan.failures + 1;
  if (here < (plan.proven === plan.at ? TRIES_PROVEN : TRIES)) {
    return { ...plan, failures, here };
  }
  return { at: (plan.at + 1) % ways, failures, here: 0, proven: undefined };
}

/** Returns the seconds to wait before the next try. random: 0 to 1; retryAfterS: what the server asked for. */
export function reconnectWaitS(plan: Plan, random: number, retryAfterS = 0): number {
  if (plan.failures === 0) {
    return retryAfterS + RECONNECT_WITHIN_S * random;
  }
  const backoffS = Math.min(RECONNECT_MAX_S, 0.5 * 2 ** (plan.failures - 1));
  return retryAfterS + backoffS * (0.5 + random / 2);
}
