/** Looks for a player by name, and says where; whoever asks again gets the next of that name. */

import { useRef, useState } from "preact/hooks";
import type { Row } from "scoreboard-client";
import { find, PAGE } from "./find";
import { client } from "./hooks";
import { counted, ordinal, refusal, whole } from "./words";

interface SearchProps {
  board: string;
  period: string;
  jump: (row: Row) => void;
}

/** What was found last, in words, and what looks for a player. */
function useSearch({ board, period, jump }: SearchProps): [string, (text: string) => Promise<void>] {
  const [said, setSaid] = useState("");
  const last = useRef({ text: "", rank: 0 });
  const running = useRef<AbortController>(undefined);

  const look = async (text: string) => {
    running.current?.abort();
    const own = new AbortController();
    running.current = own;
    const { signal } = own;
    const after = last.current.text === text ? last.current.rank : 0;
    const pages = async (offset: number) => (await client.top(PAGE, { board, period, offset, signal })).leaderboard;
    const onPage = (rank: number) => setSaid(`Looking at ranks ${whole(rank)} to ${whole(rank + PAGE - 1)}…`);
    try {
      const row = await find(text, after, pages, onPage);
      if (!signal.aborted) {
        last.current = { text, rank: row?.rank ?? 0 };
        setSaid(row === undefined ? nobody(text, after) : place(row));
        if (row !== undefined) {
          jump(row);
        }
      }
    } catch (error) {
      if (!signal.aborted) {
        setSaid(refusal(error).sentence);
      }
    }
  };

  return [said, look];
}

export function Search(props: SearchProps) {
  const [said, look] = useSearch(props);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const text = String(new FormData(event.currentTarget as HTMLFormElement).get("player")).trim();
    if (text !== "") {
      void look(text);
    }
  };
  return (
    <search>
      <form class="search" onSubmit={submit}>
        <label for="player">Find a player</label>
        <div class="joined">
          <input id="player" name="player" type="search" maxLength={100} autocomplete="off" spellcheck={false} />
          <button type="submit">Find</button>
        </div>
        <p role="status">{said}</p>
      </form>
    </search>
  );
}

function place(row: Row): string {
  return `${row.username} is ${ordinal(row.rank)} with ${counted(row.score, "point")}. Again for the next match.`;
}

function nobody(text: string, after: number): string {
  return after > 0 ? `No further match for “${text}”.` : `Nobody on this board matches “${text}”.`;
}
