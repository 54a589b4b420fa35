import { create } from "@bufbuild/protobuf";
import { describe, expect, test } from "vitest";
import { ScoreboardError } from "../src/error.js";
import { LeaderboardUpdateSchema } from "../src/gen/scoreboard/v1/stream_pb.js";
import { after, judge, type Shown } from "../src/rules/shown.js";
import { parseFrame } from "../src/watch/frame.js";

const frame = (version: number, more: { period?: string; heartbeat?: boolean } = {}) =>
  create(LeaderboardUpdateSchema, { board: "daily", period: "2026-11-27", version, ...more });
const shown: Shown = { period: "2026-11-27", version: 100 };

describe("a version never falls within a period", () => {
  test("what is newer, or as new, is shown", () => {
    expect(judge(undefined, frame(1))).toBe("show");
    expect(judge(shown, frame(101))).toBe("show");
    expect(judge(shown, frame(100))).toBe("show");
  });

  test("what is older is not", () => {
    expect(judge(shown, frame(99))).toBe("stale");
  });

  test("another period counts anew", () => {
    const next = frame(7, { period: "2026-11-28" });
    expect(judge(shown, next)).toBe("show");
    expect(after(shown, next)).toEqual({ period: "2026-11-28", version: 7 });
  });

  test("a board from Postgres has no version, and is shown under the last", () => {
    expect(judge(shown, frame(0))).toBe("show");
    expect(after(shown, frame(0))).toEqual(shown);
  });

  test("a heartbeat is a sign of life, and of boards that began anew", () => {
    expect(judge(shown, frame(100, { heartbeat: true }))).toBe("beat");
    expect(judge(shown, frame(0, { heartbeat: true }))).toBe("beat");
    expect(judge(shown, frame(99, { heartbeat: true }))).toBe("reset");
    expect(judge(shown, frame(100, { heartbeat: true, period: "next" }))).toBe("reset");
  });
});

test("a frame is read as the gateway and stream_svc print it", () => {
  const text =
    '{"leaderboard":[{"rank":1,"userId":"u_1","username":"Zoë","score":9007199254740991}],"version":4294967297,' +
    '"board":"all","period":"all-time","left":[],"me":{"rank":1,"score":1e+15},"fromTheFuture":1}';
  const read = parseFrame(text);
  expect(read).toMatchObject({
    leaderboard: [{ rank: 1, userId: "u_1", username: "Zoë", score: 2 ** 53 - 1 }],
    version: 4294967297,
    me: { rank: 1, score: 1e15 },
  });
  expect(read).not.toHaveProperty("heartbeat", true);
});

test("an error frame is an error, and so is what is no board", () => {
  const text = '{"success":false,"error":"Leaderboard not found","message":"No.","reason":"UNKNOWN_BOARD"}';
  expect(parseFrame(text)).toMatchObject({ reason: "UNKNOWN_BOARD" });
  for (const other of ["", "{", "7", "null", '"text"', '{"version":"x"}']) {
    expect(parseFrame(other)).toBeInstanceOf(ScoreboardError);
  }
});
