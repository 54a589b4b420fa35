/** Repeats a call that is safe to repeat, until its deadline. What is repeated, `rules/retry` decides. */

import type { CallOptions } from "@connectrpc/connect";
import { type ErrorCode, ScoreboardError, toError } from "./error.js";
import { waitBefore } from "./rules/retry.js";

/** Longest time for one try, milliseconds: the gateway's own for updates. */
export const CALL_TIMEOUT_MS = 5000;

/** How long a call with all its tries may take unless something else is said, seconds. */
export const DEADLINE_S = 15;

/** How long a call may take with all its tries, and what ends it early. */
export interface Patience {
  /** Seconds; default 15: a service that restarts is back within a few. */
  deadlineS?: number | undefined;
  /** Ends the call when it fires. */
  signal?: AbortSignal | undefined;
}

/** The time that a call has left. */
export class Deadline {
  readonly signal: AbortSignal | undefined;
  private readonly endsAtMs: number;

  constructor({ deadlineS = DEADLINE_S, signal }: Patience) {
    this.signal = signal;
    this.endsAtMs = performance.now() + deadlineS * 1000;
  }

  get leftS(): number {
    return Math.max(0, (this.endsAtMs - performance.now()) / 1000);
  }

  /** The same as a patience, for what is asked for on the way. */
  get patience(): Patience {
    return { deadlineS: this.leftS, signal: this.signal };
  }

  /** The options of the next try. */
  get options(): CallOptions & { timeoutMs: number } {
    const timeoutMs = Math.max(1, Math.min(CALL_TIMEOUT_MS, Math.ceil(this.leftS * 1000)));
    return this.signal === undefined ? { timeoutMs } : { timeoutMs, signal: this.signal };
  }
}

/** Returns the call's answer. Throws ScoreboardError when it fails for good, or the deadline is too near to repeat. */
export async function repeat<T>(call: (options: CallOptions) => Promise<T>, deadline: Deadline): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await call(deadline.options);
    } catch (thrown) {
      const error = toError(thrown);
      const waitS = waitBefore(error, tries, deadline.leftS, Math.random());
      if (waitS === undefined) {
        throw error;
      }
      await pause(waitS, deadline.signal);
    }
  }
}

/** Returns what the work brings. Throws ScoreboardError when time is over before, or the signal fires; it goes on then. */
export function within<T>(work: Promise<T>, deadline: Deadline): Promise<T> {
  return new Promise((resolve, reject) => {
    const { signal, leftS } = deadline;
    const leave = (code: ErrorCode) => reject(new ScoreboardError("The session is still being renewed.", { code }));
    const abort = () => leave("CANCELLED");
    const timer = setTimeout(() => leave("DEADLINE_EXCEEDED"), leftS * 1000);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) {
      abort();
    }
    void work.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    });
  });
}

/** Waits; returns at once, without an error, when the signal fires. */
export function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, seconds * 1000);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) {
      end();
    }
  });
}
