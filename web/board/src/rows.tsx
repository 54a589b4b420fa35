/** A list of rows, ranks ascending. */

import { Component } from "preact";
import { useMemo, useRef } from "preact/hooks";
import type { Row } from "scoreboard-client";
import { useCounting, useGlide } from "./motion";
import { follow, type Moves, shown, tied } from "./movement";
import { movement, whole } from "./words";

interface RowsProps {
  rows: readonly Row[];
  now: number;
  ownId: string | undefined;
  /** Who was looked for. */
  foundId: string | undefined;
  label: string;
}

export function Rows({ rows, now, ownId, foundId, label }: RowsProps) {
  const list = useRef<HTMLOListElement>(null);
  const moves = useRef<Moves>(undefined);
  moves.current = useMemo(() => follow(rows.length > 0 ? moves.current : undefined, rows, Date.now()), [rows]);
  const ties = useMemo(() => tied(rows), [rows]);
  useGlide(list, rows.map((row) => row.userId).join());
  return (
    <ol class="rows" ref={list} aria-label={label} start={rows[0]?.rank ?? 1}>
      {rows.map((row) => (
        <Place
          key={row.userId}
          userId={row.userId}
          rank={row.rank}
          username={row.username}
          score={row.score}
          moved={shown(moves.current, row.userId, now)}
          isOwn={row.userId === ownId}
          isFound={row.userId === foundId}
          isTied={ties.has(row.userId)}
        />
      ))}
    </ol>
  );
}

interface PlaceProps {
  userId: string;
  rank: number;
  username: string;
  score: number;
  moved: number | "new";
  isOwn: boolean;
  isFound: boolean;
  isTied: boolean;
}

/** One row; drawn again only when something of it changed: boards have many, and come twenty times a second. */
class Place extends Component<PlaceProps> {
  override shouldComponentUpdate(next: Readonly<PlaceProps>): boolean {
    const keys = Object.keys(next) as (keyof PlaceProps)[];
    return keys.some((key) => next[key] !== this.props[key]);
  }

  override render({ userId, rank, username, score, moved, isOwn, isFound, isTied }: Readonly<PlaceProps>) {
    return (
      <li
        class="row"
        data-user={userId}
        data-rank={rank}
        data-own={isOwn || undefined}
        data-found={isFound || undefined}
        aria-current={isOwn ? "true" : undefined}
        tabIndex={isFound ? -1 : undefined}
      >
        <span class="rank">
          {whole(rank)}
          <i class="unseen">. </i>
        </span>
        <span class="name">
          <bdi>{username}</bdi>
          {isOwn && <b class="you">you</b>}
        </span>
        <Moved places={moved} />
        <span class="points">
          {isTied && <Tie />}
          <Score value={score} />
          <i class="unseen"> points</i>
        </span>
      </li>
    );
  }
}

function Moved({ places }: { places: number | "new" }) {
  if (places === 0) {
    return <span class="moved" />;
  }
  if (places === "new") {
    return <span class="moved rising">new</span>;
  }
  return (
    <span class={places > 0 ? "moved rising" : "moved"}>
      <span aria-hidden="true">
        {places > 0 ? "▲" : "▼"}&thinsp;{whole(Math.abs(places))}
      </span>
      <i class="unseen"> {movement(places)}, </i>
    </span>
  );
}

function Tie() {
  return (
    <span class="tie">
      <span aria-hidden="true">=</span>
      <i class="unseen">tied, </i>
    </span>
  );
}

function Score({ value }: { value: number }) {
  const element = useRef<HTMLDataElement>(null);
  useCounting(element, value, whole);
  return <data class="score" value={`${value}`} ref={element} />;
}
