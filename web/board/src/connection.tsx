/** How the live board is doing: nothing to read while it is well, and honest when it is not. */

import type { Live } from "./hooks";
import { useOnline } from "./hooks";
import { clock, duration } from "./words";

interface ConnectionProps {
  live: Live;
  now: number;
  retry: () => void;
}

export function Connection({ live, now, retry }: ConnectionProps) {
  const isOnline = useOnline();
  const { phase, retryAtMs } = live.state;
  const isOff = !isOnline || phase === "offline" || phase === "ended";
  return (
    <div class="connection" data-phase={isOff ? "offline" : phase}>
      <p role="status">{sentence(live, isOnline)}</p>
      {isOff && retryAtMs !== undefined && isOnline && (
        <p class="next" aria-hidden="true">
          Next try in {duration(retryAtMs - now)}
        </p>
      )}
      {isOff && isOnline && (
        <button type="button" class="link" onClick={retry}>
          Try now
        </button>
      )}
    </div>
  );
}

const BY = { websocket: "Live", sse: "Live, by event stream", polling: "Live, by asking every second" };

function sentence({ board, state, goodAtMs }: Live, isOnline: boolean): string {
  const old = board !== undefined && goodAtMs > 0 ? ` What you see is from ${clock(goodAtMs)}.` : "";
  if (!isOnline) {
    return `This device is offline.${old}`;
  }
  switch (state.phase) {
    case "live":
      return BY[state.by];
    case "offline":
      return `Offline: the server does not answer.${old}`;
    case "ended":
      return `Not live.${old}`;
    default:
      return board === undefined ? "Connecting…" : "Reconnecting…";
  }
}
