/** What the page's address says: `?board=daily&period=previous&kiosk&rows=10&theme=dark`. Pure. */

export interface Address {
  /** Name of the board; empty: the usual one. */
  readonly board: string;
  /** Label of a period; empty: the current one, live. */
  readonly period: string;
  /** For wall screens: the board alone, as large as it goes. */
  readonly isKiosk: boolean;
  /** Rows of a wall screen, 1 to 30. */
  readonly rows: number;
  readonly theme: "light" | "dark" | "";
}

const ROWS_DEFAULT = 10;
const ROWS_MAX = 30; // beyond, nobody reads it from afar

export function parse(search: string): Address {
  const asked = new URLSearchParams(search);
  const rows = Math.trunc(Number(asked.get("rows")));
  const theme = asked.get("theme");
  return {
    board: asked.get("board") ?? "",
    period: asked.get("period") ?? "",
    isKiosk: asked.has("kiosk"),
    rows: rows >= 1 ? Math.min(rows, ROWS_MAX) : ROWS_DEFAULT,
    theme: theme === "light" || theme === "dark" ? theme : "",
  };
}

/** Returns the address of another board or period, with all else as it is. */
export function format(search: string, board: string, period = ""): string {
  const asked = new URLSearchParams(search);
  asked.set("board", board);
  if (period === "") {
    asked.delete("period");
  } else {
    asked.set("period", period);
  }
  return `?${asked.toString().replace(/=(?=&|$)/g, "")}`;
}
