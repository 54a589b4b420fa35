/** Reads the JSON that WebSocket and event stream bring. Pure. */

import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { fromBody, ScoreboardError } from "../error.js";
import { type LeaderboardUpdate, LeaderboardUpdateSchema } from "../gen/scoreboard/v1/stream_pb.js";

/** Returns a frame, or the error that came in its place; a text that is neither is an error too. */
export function parseFrame(text: string): LeaderboardUpdate | ScoreboardError {
  try {
    const json = JSON.parse(text) as JsonValue;
    return fromBody(json) ?? fromJson(LeaderboardUpdateSchema, json, { ignoreUnknownFields: true });
  } catch (cause) {
    return new ScoreboardError("The server sent something that is no board.", { reason: "INTERNAL", cause });
  }
}
