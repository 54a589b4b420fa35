/** The top of the page: the boards as its headlines, and what there is to say of the one that is shown. */

import type { Board } from "scoreboard-client";
import { format } from "./address";
import { counted, duration, title } from "./words";

interface BoardsProps {
  boards: readonly Board[];
  name: string;
  go: (board: string) => void;
}

/** The boards, each by an address of its own. */
export function Boards({ boards, name, go }: BoardsProps) {
  const names = boards.length > 0 ? boards.map((board) => board.name) : [name];
  const follow = (event: MouseEvent, board: string) => {
    // Whoever wants another tab gets one.
    if (!(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey)) {
      event.preventDefault();
      go(board);
    }
  };
  return (
    <nav class="boards" aria-label="Boards">
      {names.map((board) => (
        <a
          key={board}
          href={format(location.search, board)}
          aria-current={board === name ? "page" : undefined}
          onClick={(event) => follow(event, board)}
        >
          {title(board)}
        </a>
      ))}
    </nav>
  );
}

interface PeriodsProps {
  board: Board | undefined;
  period: string;
  go: (period: string) => void;
}

/** The periods of a board, the current one first; nothing where there is but one. */
export function Periods({ board, period, go }: PeriodsProps) {
  const [current, ...past] = board?.periods ?? [];
  if (current === undefined || past.length === 0) {
    return null;
  }
  return (
    <label class="periods">
      <span class="unseen">Period</span>
      <select value={period} onChange={(event) => go(event.currentTarget.value)}>
        <option value="">{current.label}, now</option>
        {past.map(({ label }) => (
          <option key={label} value={label}>
            {label}
          </option>
        ))}
      </select>
    </label>
  );
}

const SEPARATOR = "\u2002·\u2002"; // the font draws a plain space too narrow for it

/** Returns when a board starts anew, in words; empty for one that never does. */
export function timeLeft(board: Board | undefined, now: number): string {
  const endsAt = board?.periods[0]?.endsAt ?? "";
  if (endsAt === "") {
    return "";
  }
  const leftMs = Date.parse(endsAt) - now;
  return leftMs > 0 ? `resets in ${duration(leftMs)}` : "starting anew…";
}

/** What is known of the board that is shown. */
export interface Known {
  readonly board: Board | undefined;
  readonly players: number;
  readonly hasTies: boolean;
  /** Whether it is of a period that is over. */
  readonly isPast: boolean;
}

const RULES: Readonly<Record<string, string>> = { best: "best result counts", last: "last result counts" };

/** Returns what is said of a board in a line. */
export function facts({ board, players, hasTies, isPast }: Known, now: number): string {
  const time = isPast ? "closed; this is how it ended" : timeLeft(board, now);
  const people = players > 0 ? counted(players, "player") : "";
  const rule = RULES[board?.operator ?? ""] ?? "";
  const parts = [time, people, rule, hasTies ? "= tied, earliest first" : ""];
  return parts.filter((part) => part !== "").join(SEPARATOR);
}
