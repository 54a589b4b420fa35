/** Decides which movement stands beside a row: how far it came within the last seconds. Pure; time is an argument. */

/** How long a movement is shown after the last of it, ms. */
export const SHOWN_MS = 8_000;

export interface Placed {
  readonly userId: string;
  readonly rank: number;
}

export interface Move {
  readonly rank: number;
  /** The rank that the movement began from; undefined: the player was not on the board. */
  readonly from: number | undefined;
  readonly untilMs: number;
}

/** A board is whole so long after its first rows: the server begins with ten, before it reads how many are wanted. */
const WHOLE_MS = 1_500;

export interface Moves {
  readonly sinceMs: number;
  readonly players: ReadonlyMap<string, Move>;
}

/** Returns the movements after this board. before: those of the last one; undefined: this is the first. */
export function follow(before: Moves | undefined, rows: readonly Placed[], nowMs: number): Moves {
  const sinceMs = before?.sinceMs ?? nowMs;
  const isWhole = nowMs - sinceMs > WHOLE_MS;
  const players = new Map(
    rows.map((row) => [row.userId, next(before?.players.get(row.userId), row.rank, isWhole, nowMs)]),
  );
  return { sinceMs, players };
}

function next(last: Move | undefined, rank: number, isWhole: boolean, nowMs: number): Move {
  if (last === undefined) {
    return { rank, from: isWhole ? undefined : rank, untilMs: nowMs + SHOWN_MS };
  }
  if (last.rank === rank) {
    return last;
  }
  return { rank, from: last.untilMs > nowMs ? last.from : last.rank, untilMs: nowMs + SHOWN_MS };
}

/** Returns the places that a player moved up (above 0) or down; `new` for one who just came. */
export function shown(moves: Moves | undefined, userId: string, nowMs: number): number | "new" {
  const move = moves?.players.get(userId);
  if (move === undefined || move.untilMs <= nowMs) {
    return 0;
  }
  return move.from === undefined ? "new" : move.from - move.rank;
}

/** Returns the ids of those who share their score with a neighbour in the list. */
export function tied(rows: readonly { userId: string; score: number }[]): ReadonlySet<string> {
  const alike = (n: number, m: number) => rows[n]?.score === rows[m]?.score;
  return new Set(rows.filter((_, n) => alike(n, n - 1) || alike(n, n + 1)).map((row) => row.userId));
}
