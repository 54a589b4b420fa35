/** Numbers, times and refusals in words. Pure. */

import { ScoreboardError } from "scoreboard-client";

const WHOLE = new Intl.NumberFormat("en");
const TIME = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const ORDINAL = new Intl.PluralRules("en", { type: "ordinal" });
const SUFFIXES: Readonly<Record<string, string>> = { one: "st", two: "nd", few: "rd", other: "th" };

export function whole(value: number): string {
  return WHOLE.format(value);
}

export function ordinal(rank: number): string {
  return `${whole(rank)}${SUFFIXES[ORDINAL.select(rank)]}`;
}

export function counted(value: number, one: string): string {
  return `${whole(value)} ${one}${value === 1 ? "" : "s"}`;
}

/** Returns `14:03:22`. */
export function clock(ms: number): string {
  return TIME.format(ms);
}

/** Returns how long that is, by its two largest units: `2 d 4 h`, `5 h 12 m`, `12 m 3 s`, `8 s`; at least 0 s. */
export function duration(ms: number): string {
  const s = Math.max(0, Math.ceil(ms / 1000));
  const [d, h, m] = [Math.floor(s / 86_400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d > 0) {
    return `${d} d ${h} h`;
  }
  if (h > 0) {
    return `${h} h ${m} m`;
  }
  return m > 0 ? `${m} m ${s % 60} s` : `${s} s`;
}

/** Returns a board's name as a title: `all` is the board of all time. */
export function title(board: string): string {
  const words = board.replaceAll(/[-_]+/g, " ").trim();
  return board === "all" ? "All time" : words.charAt(0).toUpperCase() + words.slice(1);
}

/** Returns how far a player moved, for those who hear it; places: upwards above 0. */
export function movement(places: number): string {
  return `${places > 0 ? "up" : "down"} ${counted(Math.abs(places), "place")}`;
}

const SHORT: Readonly<Partial<Record<string, string>>> = {
  COOLDOWN: "Too soon",
  CAP_REACHED: "Enough for now",
  RATE_LIMITED: "Too fast",
  QUEUE_FULL: "Too busy",
  UNKNOWN_ACTION: "No such action",
  SERVER_ONLY_ACTION: "For game servers only",
  BANNED: "Not allowed to play",
  UNKNOWN_BOARD: "No such board",
  UNKNOWN_USER: "Not on this board",
  LEADERBOARD_UNAVAILABLE: "Not available right now",
  BROKER_AWAY: "Not available right now",
  SERVICE_AWAY: "Not available right now",
  DEADLINE_EXCEEDED: "No answer in time",
};

/** Returns what was refused: in two or three words, and as the server's sentence. */
export function refusal(error: unknown): { short: string; sentence: string } {
  if (!(error instanceof ScoreboardError)) {
    return { short: "That did not work", sentence: "Something went wrong in this page: reload it and try again." };
  }
  const isLost = error.reason === "" && error.isUnknown;
  const sentence = isLost ? "The server cannot be reached." : error.message;
  return { short: SHORT[error.reason] ?? (isLost ? "No answer" : "Refused"), sentence };
}
