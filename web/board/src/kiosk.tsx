/** For wall screens: one board, as large as the screen allows, and nothing to press. */

import { useEffect } from "preact/hooks";
import type { Board } from "scoreboard-client";
import type { Address } from "./address";
import { Blank, Loading, Trouble } from "./board";
import { facts } from "./head";
import { useLive, useNow, useOnline, usePlayers } from "./hooks";
import { Rows } from "./rows";
import { clock, title } from "./words";

interface KioskProps {
  address: Address;
  boards: readonly Board[];
  name: string;
  onPeriod: (period: string) => void;
}

export function Kiosk({ address, boards, name, onPeriod }: KioskProps) {
  const now = useNow();
  const isOnline = useOnline();
  const [live] = useLive(name, address.rows);
  const board = boards.find((one) => one.name === name);
  const rows = live.board?.leaderboard;
  const players = usePlayers(name, "", rows?.length ?? 0, address.rows);
  const isOff = !isOnline || live.state.phase === "offline" || live.state.phase === "ended";
  useEffect(() => onPeriod(live.board?.period ?? ""), [live.board?.period]);
  useEffect(stayAwake, []);
  return (
    <main class="kiosk" style={{ "--rows": address.rows }}>
      <header>
        <h1>{title(name)}</h1>
        <p class="kiosk-facts">{facts({ board, players, hasTies: false, isPast: false }, now)}</p>
      </header>
      {rows === undefined && (isOff ? <Trouble error={live.state.error} /> : <Loading />)}
      {rows?.length === 0 && <Blank title="Nobody yet.">The first to score stands here, within a second.</Blank>}
      {rows !== undefined && rows.length > 0 && (
        <Rows rows={rows} now={now} ownId={undefined} foundId={undefined} label={`${title(name)}, ranked`} />
      )}
      <footer>
        <p>
          Play at <b>{location.host}</b>
        </p>
        <p role="status">{isOff && live.goodAtMs > 0 ? `Not live: as of ${clock(live.goodAtMs)}` : ""}</p>
      </footer>
    </main>
  );
}

/** Keeps the screen on, where the browser lets a page do that. Returns what ends it. */
function stayAwake(): () => void {
  let lock: WakeLockSentinel | undefined;
  const ask = async () => {
    if (document.visibilityState === "visible") {
      lock = await navigator.wakeLock?.request("screen").catch(() => undefined); // a machine on battery may refuse
    }
  };
  void ask();
  document.addEventListener("visibilitychange", ask); // hiding the page ends a lock
  return () => {
    document.removeEventListener("visibilitychange", ask);
    void lock?.release();
  };
}
