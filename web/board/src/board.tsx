/** One board: its rows as they move, what comes after them, and what to say while there are none. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Row } from "scoreboard-client";
import { OFFSET_MAX, PAGE } from "./find";
import { client, untilGone } from "./hooks";
import { Rows } from "./rows";
import { counted, refusal, title, whole } from "./words";

/** Which board, of which period, and whom it shows. */
export interface Shown {
  readonly name: string;
  /** Empty: the current one. */
  readonly period: string;
  readonly isLive: boolean;
  readonly now: number;
  readonly ownId: string | undefined;
  readonly foundId: string | undefined;
}

const AGAIN_MS = 3_000; // of rows that are not live
const PAGES_UNASKED = 10; // come by scrolling; more by a button, so that the page has an end

interface BoardProps {
  shown: Shown;
  rows: readonly Row[];
  players: number;
  /** Pages of 100 rows that are shown. */
  pages: number;
  showPages: (pages: number) => void;
}

export function BoardRows({ shown, rows, players, pages, showPages }: BoardProps) {
  if (rows.length === 0) {
    return <Empty isLive={shown.isLive} />;
  }
  const { now, ownId, foundId } = shown;
  const hasMore = players > pages * PAGE && pages * PAGE <= OFFSET_MAX;
  return (
    <>
      <Rows rows={rows} now={now} ownId={ownId} foundId={foundId} label={`${title(shown.name)}, ranked`} />
      {Array.from({ length: pages - 1 }, (_, n) => (
        <Further key={`${n}`} page={n + 1} shown={shown} />
      ))}
      {hasMore && <More key={pages} pages={pages} players={players} show={() => showPages(pages + 1)} />}
    </>
  );
}

function More({ pages, players, show }: { pages: number; players: number; show: () => void }) {
  const box = useRef<HTMLDivElement>(null);
  const isNear = useSeen(box, "600px");
  useEffect(() => {
    if (isNear && pages < PAGES_UNASKED) {
      show();
    }
  }, [isNear, pages]);
  return (
    <div class="more" ref={box}>
      <p class="quiet">
        Ranks 1 to {whole(pages * PAGE)} of {counted(players, "player")}; those beyond {PAGE} are a few seconds old.
      </p>
      <button type="button" onClick={show}>
        Show {PAGE} more
      </button>
    </div>
  );
}

/** Rows that are not watched, asked for again while they are looked at. */
function Further({ page, shown }: { page: number; shown: Shown }) {
  const { name: board, period, isLive, now, ownId, foundId } = shown;
  const box = useRef<HTMLDivElement>(null);
  const isSeen = useSeen(box);
  const [rows, setRows] = useState<readonly Row[]>();
  const isNeeded = rows === undefined || isSeen;
  useEffect(() => {
    const ask = async (signal: AbortSignal) => {
      const { leaderboard } = await client.top(PAGE, { board, period, offset: page * PAGE, signal });
      setRows(leaderboard);
    };
    return isNeeded ? untilGone(ask, AGAIN_MS, isLive && isSeen ? AGAIN_MS : undefined) : undefined;
  }, [board, period, page, isLive, isSeen, isNeeded]);
  const label = `Ranks ${whole(page * PAGE + 1)} to ${whole((page + 1) * PAGE)}`;
  return (
    <div class="further" ref={box}>
      {rows === undefined ? (
        <p class="quiet">Fetching them…</p>
      ) : (
        <Rows rows={rows} now={now} ownId={ownId} foundId={foundId} label={label} />
      )}
    </div>
  );
}

/** The rows around a player who is not among those shown. */
export function Around({ userId, shown, leave }: { userId: string; shown: Shown; leave: () => void }) {
  const { name: board, period, isLive, now, ownId } = shown;
  const [rows, setRows] = useState<readonly Row[]>([]);
  useEffect(() => {
    const ask = async (signal: AbortSignal) =>
      setRows((await client.around(userId, { board, period, limit: 4, signal })).leaderboard);
    return untilGone(ask, AGAIN_MS, isLive ? AGAIN_MS : undefined);
  }, [userId, board, period, isLive]);
  const name = rows.find((row) => row.userId === userId)?.username ?? "";
  return (
    <section class="around" aria-labelledby="around">
      <header>
        <h2 id="around">
          Around <bdi>{name}</bdi>
        </h2>
        <button type="button" class="link" onClick={leave}>
          Close
        </button>
      </header>
      <Rows rows={rows} now={now} ownId={ownId} foundId={userId} label="The rows around" />
    </section>
  );
}

function Empty({ isLive }: { isLive: boolean }) {
  return (
    <Blank title={isLive ? "Nobody yet." : "Nobody scored."}>
      {isLive ? "The first to score stands here, within a second." : "This period ended with an empty board."}
    </Blank>
  );
}

export function Loading() {
  return <Blank title="One moment.">The board is on its way.</Blank>;
}

export function Trouble({ error, children }: { error: unknown; children?: ComponentChildren }) {
  const { short, sentence } = refusal(error);
  return (
    <Blank title={`${short}.`}>
      {sentence} {children}
    </Blank>
  );
}

export function Blank({ title: words, children }: { title: string; children: ComponentChildren }) {
  return (
    <div class="blank">
      <p class="large">{words}</p>
      <p>{children}</p>
    </div>
  );
}

/** Whether an element is on the screen, or as near to it as the margin. */
function useSeen(box: { current: HTMLElement | null }, margin = "0px"): boolean {
  const [isSeen, setSeen] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => setSeen(entries.some((entry) => entry.isIntersecting)), {
      rootMargin: margin,
    });
    if (box.current !== null) {
      observer.observe(box.current);
    }
    return () => observer.disconnect();
  }, [box, margin]);
  return isSeen;
}
