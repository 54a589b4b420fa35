/** Says the news of a board to those who hear the page: who leads, and the own place. Seldom, for boards move fast. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { LeaderboardUpdate } from "scoreboard-client";
import { ordinal, whole } from "./words";

const EVERY_MS = 6_000;

export function Announce({ board }: { board: LeaderboardUpdate | undefined }) {
  const news = board === undefined ? "" : headline(board);
  const [said, setSaid] = useState("");
  const latest = useRef(news);
  latest.current = news;
  useEffect(() => {
    const timer = setInterval(() => setSaid(latest.current), EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <p class="unseen" aria-live="polite">
      {said}
    </p>
  );
}

/** Names no score of the leader's: with it, each point would be news. */
function headline({ leaderboard, me }: LeaderboardUpdate): string {
  const leader = leaderboard[0];
  const first = leader === undefined ? "Nobody has scored yet." : `${leader.username} leads.`;
  return me !== undefined && me.rank > 0 ? `${first} You are ${ordinal(me.rank)} with ${whole(me.score)}.` : first;
}
