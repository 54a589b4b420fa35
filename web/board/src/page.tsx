/** The page as people open it: the board, and beside it whatever one can do. */

import { useEffect, useState } from "preact/hooks";
import { type Board, type Player, type Row, ScoreboardError } from "scoreboard-client";
import { Account } from "./account";
import type { Address } from "./address";
import { Announce } from "./announce";
import { Around, BoardRows, Loading, type Shown, Trouble } from "./board";
import { Connection } from "./connection";
import { PAGE } from "./find";
import { Boards, facts, Periods } from "./head";
import { client, type Live, untilGone, useLive, useNow, usePlayers } from "./hooks";
import { tied } from "./movement";
import { Play } from "./play";
import { Search } from "./search";
import { counted, ordinal, title } from "./words";

interface PageProps {
  address: Address;
  go: (board: string, period?: string) => void;
  boards: readonly Board[];
  name: string;
  player: Player | null | undefined;
  /** Is told the period of the board that is shown. */
  onPeriod: (period: string) => void;
}

export function Page({ address, go, boards, name, player, onPeriod }: PageProps) {
  const now = useNow();
  const board = boards.find((one) => one.name === name);
  const isPast = isOver(address.period, board);
  const [live, retry] = useLive(isPast ? "" : name, PAGE);
  const period = isPast ? address.period : "";
  const past = usePast(name, period);
  const rows = isPast ? past.rows : live.board?.leaderboard;
  const players = usePlayers(name, period, rows?.length ?? 0, PAGE);
  const [pages, setPages] = useState(1);
  const [found, setFound] = useState<{ userId: string; rank: number }>();
  useEffect(() => onPeriod(live.board?.period ?? ""), [live.board?.period]);
  useEffect(scrollToFound, [found]);

  const hasTies = rows !== undefined && tied(rows).size > 0;
  const shown: Shown = { name, period, isLive: !isPast, now, ownId: player?.userId, foundId: found?.userId };
  const isApart = found !== undefined && found.rank > pages * PAGE;
  return (
    <div class="page">
      <header class="top">
        <p class="mark">Scoreboard</p>
        {isPast ? <p class="quiet">Not live</p> : <Connection live={live} now={now} retry={retry} />}
      </header>
      <div class="head">
        <h1 class="unseen">{title(name)}</h1>
        <Boards boards={boards} name={name} go={go} />
        <div class="facts">
          <p>{facts({ board, players, hasTies, isPast }, now)}</p>
          <Periods board={board} period={period} go={(label) => go(name, label)} />
        </div>
      </div>
      <Aside player={player} live={isPast ? undefined : live} board={name} period={period} jump={setFound} />
      <main>
        {live.board?.closed && <p class="note">This period is over. The next one begins right now.</p>}
        {isApart && <Around userId={found.userId} shown={shown} leave={() => setFound(undefined)} />}
        {rows === undefined ? (
          <Missing live={live} isPast={isPast} error={past.error} boards={boards} />
        ) : (
          <BoardRows shown={shown} rows={rows} players={players} pages={pages} showPages={setPages} />
        )}
      </main>
      <footer>
        <a href="?kiosk">For a wall screen</a> <a href="/docs">HTTP API</a> <a href="/page.licenses.txt">Licenses</a>
      </footer>
      <Announce board={isPast ? undefined : live.board} />
    </div>
  );
}

type Jump = (to: { userId: string; rank: number }) => void;

interface AsideProps {
  player: Player | null | undefined;
  /** The board that is watched; undefined: one that is over. */
  live: Live | undefined;
  board: string;
  period: string;
  jump: Jump;
}

/** Whatever one can do: take part, and look for somebody. */
function Aside({ player, live, board, period, jump }: AsideProps) {
  return (
    <aside aria-label="Take part">
      <section class="panel" aria-labelledby="play">
        <h2 id="play">Play</h2>
        <Account player={player} />
        {live && <OwnPlace live={live} jump={jump} ownId={player?.userId} />}
        {player && <Play />}
      </section>
      <section class="panel" aria-label="Search">
        <Search board={board} period={period} jump={jump} />
      </section>
    </aside>
  );
}

/** Tells whether a period is one that has ended. */
function isOver(period: string, board: Board | undefined): boolean {
  return period !== "" && period !== "current" && period !== board?.periods[0]?.label;
}

function scrollToFound(): void {
  const row = document.querySelector("[data-found]");
  const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
  row?.scrollIntoView({ block: "center", behavior: isStill ? "auto" : "smooth" });
}

function OwnPlace({ live, ownId, jump }: { live: Live; ownId: string | undefined; jump: Jump }) {
  const me = live.board?.me;
  if (ownId === undefined || me === undefined) {
    return null;
  }
  if (me.rank === 0) {
    return <p class="own">You are not on this board yet: score once.</p>;
  }
  return (
    <p class="own">
      You are <b>{ordinal(me.rank)}</b> with {counted(me.score, "point")}.{" "}
      <button type="button" class="link" onClick={() => jump({ userId: ownId, rank: me.rank })}>
        Show me
      </button>
    </p>
  );
}

interface MissingProps {
  live: Live;
  isPast: boolean;
  error: unknown;
  boards: readonly Board[];
}

/** What stands in place of rows. */
function Missing({ live, isPast, error, boards }: MissingProps) {
  const why = isPast ? error : live.state.error;
  const isFailed = isPast ? error !== undefined : live.state.phase === "offline" || live.state.phase === "ended";
  if (!isFailed) {
    return <Loading />;
  }
  return (
    <Trouble error={why}>
      {boards.length > 0 ? `There are: ${boards.map((one) => title(one.name)).join(", ")}.` : ""}
    </Trouble>
  );
}

/** The top of a period that is over; asked for until it comes. period: empty: none. */
function usePast(board: string, period: string): { rows: readonly Row[] | undefined; error: unknown } {
  const [past, setPast] = useState<{ rows: readonly Row[] | undefined; error: unknown }>({
    rows: undefined,
    error: undefined,
  });
  useEffect(() => {
    setPast({ rows: undefined, error: undefined });
    const ask = async (signal: AbortSignal) => {
      try {
        setPast({ rows: (await client.top(PAGE, { board, period, signal })).leaderboard, error: undefined });
      } catch (error) {
        setPast({ rows: undefined, error });
        if (!(error instanceof ScoreboardError && error.code === "NOT_FOUND")) {
          throw error; // then it is asked for again
        }
      }
    };
    return period === "" ? undefined : untilGone(ask, 5_000);
  }, [board, period]);
  return past;
}
