/**
 * Decides what follows when an update was not counted at once. Pure.
 *
 * Holds always: an update gets another nonce only when it is certain that nothing was recorded under the one before.
 */

import { type Reason, ScoreboardError } from "../error.js";

/** What has happened to one update so far. */
export interface Tries {
  /** Whether its nonce was made here, and not given by the caller or issued by the server. */
  readonly isNonceOurs: boolean;
  /** Whether some try ended without an answer: it may have counted. */
  readonly isUnknown: boolean;
  /** Whether a new access token was got for it. */
  readonly isRenewed: boolean;
}

/** What to do next; `repeat`: if the deadline allows it. */
export type Step = "repeat" | "renew" | "issue" | "throw";

/** Returns what follows from a refusal. */
export function stepAfter(error: ScoreboardError, tries: Tries): Step {
  switch (error.reason) {
    case "TOKEN_EXPIRED":
    case "TOKEN_MISSING":
      return tries.isRenewed ? "throw" : "renew";
    // The clock here is wrong, or the deployment takes issued nonces alone.
    case "NONCE_MALFORMED":
    case "NONCE_EXPIRED":
      return tries.isNonceOurs && !tries.isUnknown ? "issue" : "throw";
    default:
      return "repeat";
  }
}

/** Seconds between two questions for the outcome of a PENDING update: quick at first, for most are a moment late. */
export function outcomeWaitS(asked: number, random: number): number {
  return Math.min(2, 0.1 * 2 ** asked) * (0.5 + random / 2);
}

/** Refusals that only an update itself is answered with: they tell for sure what became of its nonce. */
const OUTCOMES: ReadonlySet<Reason> = new Set<Reason>(["COOLDOWN", "CAP_REACHED", "BANNED"]);

/** Returns the error to throw for an update: whether it is unknown depends on every try, not on the last alone. */
export function failure(error: ScoreboardError, nonce: string, so: Tries): ScoreboardError {
  return told(error, nonce, (so.isUnknown || error.isUnknown) && !OUTCOMES.has(error.reason));
}

/** The same for what kept a try from being sent: it tells nothing of the update, so that only the tries before count. */
export function unsent(error: ScoreboardError, nonce: string, so: Tries): ScoreboardError {
  return told(error, nonce, so.isUnknown);
}

function told(error: ScoreboardError, nonce: string, isUnknown: boolean): ScoreboardError {
  const { message, reason, code, retryAfterS, metadata, cause } = error;
  const facts = { reason, code, retryAfterS, metadata, cause, isUnknown };
  return new ScoreboardError(message, isUnknown ? { ...facts, nonce } : facts);
}
