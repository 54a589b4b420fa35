/** A playground: sends actions through the real client, and says what became of them. */

import { useRef, useState } from "preact/hooks";
import { ScoreboardError, type UpdateScoreResponse, UpdateStatus } from "scoreboard-client";
import { DEFAULT_ACTIONS, remember, remembered } from "./actions";
import { client, useNow } from "./hooks";
import { againAtMs, Refused, type Said } from "./refused";
import { counted, duration, title, whole } from "./words";

type Outcome =
  | { readonly kind: "counted"; readonly action: string; readonly update: UpdateScoreResponse; readonly tookMs: number }
  | { readonly kind: "refused"; readonly action: string; readonly said: Said };

/** What was sent, what became of the last of it, and which actions have to wait until when (unix ms). */
function useSending() {
  const [actions, setActions] = useState(() => [...DEFAULT_ACTIONS, ...remembered()]);
  const [outcome, setOutcome] = useState<Outcome>();
  const [waits, setWaits] = useState<Readonly<Record<string, number>>>({});
  const [inFlight, setInFlight] = useState(0);
  const newest = useRef(0);

  const send = async (action: string, nonce?: string) => {
    newest.current += 1;
    const turn = newest.current;
    setInFlight((n) => n + 1);
    const result = await sent(action, nonce);
    setInFlight((n) => n - 1);
    if (result.kind === "counted") {
      setActions([...DEFAULT_ACTIONS, ...remember(action)]);
    } else {
      const untilMs = againAtMs(result.said);
      setWaits((before) => ({ ...before, [action]: untilMs }));
    }
    if (turn === newest.current) {
      setOutcome(result); // of several on their way, the one that was sent last
    }
  };

  return { actions, outcome, waits, isBusy: inFlight > 0, send };
}

export function Play() {
  const { actions, outcome, waits, isBusy, send } = useSending();
  const now = useNow();
  return (
    <div class="play">
      <ul class="actions">
        {actions.map((action) => (
          <li key={action}>
            <ActionButton action={action} waitMs={(waits[action] ?? 0) - now} send={() => void send(action)} />
          </li>
        ))}
      </ul>
      <Told outcome={outcome} isBusy={isBusy} settle={send} />
      <Another send={(action) => void send(action)} />
    </div>
  );
}

async function sent(action: string, nonce: string | undefined): Promise<Outcome> {
  const start = performance.now();
  try {
    const update = await client.score(action, nonce === undefined ? {} : { nonce });
    return { kind: "counted", action, update, tookMs: performance.now() - start };
  } catch (error) {
    return { kind: "refused", action, said: { error, atMs: Date.now() } };
  }
}

function ActionButton({ action, waitMs, send }: { action: string; waitMs: number; send: () => void }) {
  const isWaiting = waitMs > 0;
  return (
    <button type="button" data-action={action} aria-disabled={isWaiting} onClick={isWaiting ? undefined : send}>
      {title(action)}
      {isWaiting && <span class="wait"> {duration(waitMs)}</span>}
    </button>
  );
}

interface ToldProps {
  outcome: Outcome | undefined;
  isBusy: boolean;
  settle: (action: string, nonce: string) => Promise<void>;
}

function Told({ outcome, isBusy, settle }: ToldProps) {
  return (
    <div class="told" aria-busy={isBusy}>
      <p role="status">{outcome?.kind === "counted" ? result(outcome.update, outcome.tookMs) : ""}</p>
      {outcome?.kind === "refused" && <Refused key={outcome.said.atMs} said={outcome.said} />}
      {outcome?.kind === "refused" && <Settle outcome={outcome} settle={settle} />}
    </div>
  );
}

function result(update: UpdateScoreResponse, tookMs: number): string {
  if (update.status === UpdateStatus.PENDING || update.newScore === undefined) {
    return "Accepted. It is not counted yet, and will be.";
  }
  return `+${whole(update.points ?? 0)}. You have ${counted(update.newScore, "point")}. Counted in ${whole(Math.round(tookMs))} ms.`;
}

/** Where nobody knows whether an update counted: the same nonce again counts it once, whatever happened. */
function Settle({ outcome, settle }: { outcome: Outcome & { kind: "refused" }; settle: ToldProps["settle"] }) {
  const { error } = outcome.said;
  if (!(error instanceof ScoreboardError && error.isUnknown && error.nonce !== "")) {
    return null;
  }
  return (
    <button type="button" onClick={() => void settle(outcome.action, error.nonce)}>
      Ask again: it counts once
    </button>
  );
}

function Another({ send }: { send: (action: string) => void }) {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const action = String(new FormData(event.currentTarget as HTMLFormElement).get("action")).trim();
    if (action !== "") {
      send(action);
    }
  };
  return (
    <details class="another">
      <summary>Another action</summary>
      <form onSubmit={submit}>
        <label>
          Its id in the catalogue
          <input
            name="action"
            required
            maxLength={100}
            autocomplete="off"
            spellcheck={false}
            placeholder="match-result"
          />
        </label>
        <button type="submit">Send</button>
      </form>
    </details>
  );
}
