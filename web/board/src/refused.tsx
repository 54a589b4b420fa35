/** A refusal in words; where waiting helps, the wait counts down. */

import { ScoreboardError } from "scoreboard-client";
import { useNow } from "./hooks";
import { duration, refusal } from "./words";

export interface Said {
  readonly error: unknown;
  readonly atMs: number;
}

/** Returns when a retry helps, unix ms; 0: no wait was named. */
export function againAtMs({ error, atMs }: Said): number {
  return error instanceof ScoreboardError && error.retryAfterS !== undefined ? atMs + error.retryAfterS * 1000 : 0;
}

export function Refused({ said }: { said: Said }) {
  const { short, sentence } = refusal(said.error);
  return (
    <div class="refused">
      <p role="alert">
        <b>{short}.</b> {sentence}
      </p>
      <Wait untilMs={againAtMs(said)} />
    </div>
  );
}

/** Apart from the alert, which would be read out again each second. */
function Wait({ untilMs }: { untilMs: number }) {
  const now = useNow();
  if (untilMs === 0) {
    return null;
  }
  return <p class="wait">{untilMs > now ? `Again in ${duration(untilMs - now)}` : "You can try again."}</p>;
}
