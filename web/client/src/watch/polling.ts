/** A board that is asked for again and again, where nothing that streams gets through. */

import { create } from "@bufbuild/protobuf";
import { toError } from "../error.js";
import type { GetLeaderboardResponse } from "../gen/scoreboard/v1/leaderboard_pb.js";
import { type LeaderboardUpdate, LeaderboardUpdateSchema, type Me, MeSchema } from "../gen/scoreboard/v1/stream_pb.js";
import { CALL_TIMEOUT_MS, pause } from "../repeat.js";
import { endingOf } from "../rules/ending.js";
import type { Stream, Surroundings } from "./stream.js";

const INTERVAL_S = 2;
const ASKS = 30; // a minute; then the better ways are tried again

export const byPolling: Stream = async (wish, around, to, signal) => {
  const { board, limit } = wish;
  try {
    for (let asked = 0; asked < ASKS && !signal.aborted; asked++) {
      const options = { signal, timeoutMs: CALL_TIMEOUT_MS };
      const [top, me] = await Promise.all([
        around.services.boards.getLeaderboard({ board, limit }, options),
        wish.me ? place(around, board, signal) : undefined,
      ]);
      to.frame(toFrame(top, me));
      await pause(INTERVAL_S * (0.75 + Math.random() / 2), signal);
    }
    return { isFinal: false };
  } catch (thrown) {
    return endingOf(toError(thrown));
  }
};

function toFrame(top: GetLeaderboardResponse, me: Me | undefined): LeaderboardUpdate {
  const { leaderboard, version, board, period } = top;
  return create(LeaderboardUpdateSchema, { leaderboard, version, board, period, ...(me && { me }) });
}

async function place(
  { sessions, services }: Surroundings,
  board: string,
  signal: AbortSignal,
): Promise<Me | undefined> {
  const player = await sessions.restore();
  if (player === null) {
    return undefined;
  }
  try {
    const { rank, score } = await services.boards.getRank({ userId: player.userId, board }, { signal });
    return create(MeSchema, { rank, score });
  } catch (thrown) {
    const error = toError(thrown);
    if (error.reason === "UNKNOWN_USER") {
      return create(MeSchema, { rank: 0, score: 0 });
    }
    throw error;
  }
}
