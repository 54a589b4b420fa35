/** Finds a player by name. There is no call for that: the pages of the board are looked through, best first. */

import type { Row } from "scoreboard-client";

export const PAGE = 100; // rows of one call
export const OFFSET_MAX = 10_000; // the calls go no further

/** Brings the rows of ranks from offset + 1 on. */
export type Pages = (offset: number) => Promise<readonly Row[]>;

/**
 * Returns the next row after a rank whose name contains the text, or whose id it is; undefined: there is none.
 * onPage: is told the rank that is looked at.
 */
export async function find(
  text: string,
  afterRank: number,
  pages: Pages,
  onPage: (rank: number) => void = () => {},
): Promise<Row | undefined> {
  const wanted = fold(text);
  for (let offset = afterRank - (afterRank % PAGE); offset <= OFFSET_MAX; offset += PAGE) {
    onPage(offset + 1);
    const rows = await pages(offset);
    const hit = rows.find(
      (row) => row.rank > afterRank && (row.userId === text || fold(row.username).includes(wanted)),
    );
    if (hit !== undefined || rows.length < PAGE) {
      return hit;
    }
  }
  return undefined;
}

/** Returns a text without what people leave out when they type a name: case and accents. */
export function fold(text: string): string {
  return text
    .trim()
    .normalize("NFD")
    .replaceAll(/\p{Diacritic}/gu, "")
    .toLowerCase();
}
