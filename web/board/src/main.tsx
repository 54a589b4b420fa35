/** The live board of Scoreboard: what stands at `/`. */

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Board } from "scoreboard-client";
import { useAddress, useBoards, usePlayer } from "./hooks";
import { Kiosk } from "./kiosk";
import { Page } from "./page";
import { title } from "./words";

function App() {
  const [address, go] = useAddress();
  const [period, setPeriod] = useState("");
  const boards = useBoards(period);
  const player = usePlayer();
  const name = address.board || usual(boards);
  useEffect(() => {
    document.documentElement.setAttribute("data-theme", address.theme);
    document.title = `${title(name)} · Scoreboard`;
  }, [address.theme, name]);
  const shared = { address, boards: boards ?? [], name, onPeriod: setPeriod };
  return address.isKiosk ? (
    <Kiosk key={name} {...shared} />
  ) : (
    <Page key={`${name} ${address.period}`} {...shared} go={go} player={player} />
  );
}

/** Returns the board that is shown unasked: `all`, before the boards are known, too, so that nobody waits for them. */
function usual(boards: readonly Board[] | undefined): string {
  const isThere = boards === undefined || boards.some((board) => board.name === "all");
  return isThere ? "all" : (boards[0]?.name ?? "all");
}

const page = document.getElementById("page");
if (page !== null) {
  render(<App />, page);
}
