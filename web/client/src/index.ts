/**
 * Client of Scoreboard, a real-time leaderboard.
 *
 * @packageDocumentation
 */

export { type BoardOptions, Client, type ClientOptions, type ProfileChanges, type WatchOptions } from "./client.js";
export { type ErrorCode, type Reason, ScoreboardError } from "./error.js";
export type { Row } from "./gen/scoreboard/v1/common_pb.js";
export type {
  Board,
  GetLeaderboardResponse,
  GetRankResponse,
  Period,
} from "./gen/scoreboard/v1/leaderboard_pb.js";
export { type UpdateScoreResponse, UpdateStatus } from "./gen/scoreboard/v1/score_pb.js";
export type { LeaderboardUpdate, Me } from "./gen/scoreboard/v1/stream_pb.js";
export type { Patience } from "./repeat.js";
export type { Way } from "./rules/plan.js";
export type { Session } from "./rules/renewal.js";
export type { ScoreOptions } from "./score.js";
export type { Player } from "./sessions.js";
export { indexedDbStore, memoryStore, type SessionStore } from "./store.js";
export type { Watch, WatchState } from "./watch/watch.js";
