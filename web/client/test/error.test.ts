import { create, toBinary } from "@bufbuild/protobuf";
import { base64Encode } from "@bufbuild/protobuf/wire";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { fromBody, ScoreboardError, toError } from "../src/error.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../src/gen/google/rpc/status_pb.js";

const info = create(ErrorInfoSchema, { reason: "COOLDOWN", domain: "scoreboard", metadata: { action_id: "jump" } });
const retry = create(RetryInfoSchema, { retryDelay: { seconds: 2n, nanos: 500_000_000 } });

test("a refusal of a service brings reason, delay and metadata in its details", () => {
  const details = [
    { desc: ErrorInfoSchema, value: info },
    { desc: RetryInfoSchema, value: retry },
  ];
  const headers = { "grpc-status": "8" };
  const error = toError(new ConnectError("Wait.", Code.ResourceExhausted, headers, details));
  expect(error).toMatchObject({
    message: "Wait.",
    reason: "COOLDOWN",
    code: "RESOURCE_EXHAUSTED",
    retryAfterS: 2.5,
    metadata: { action_id: "jump" },
  });
});

test("a refusal of the gateway brings them in a header, and its own status beside HTTP's", () => {
  const status = create(StatusSchema, { details: [anyPack(ErrorInfoSchema, info), anyPack(RetryInfoSchema, retry)] });
  const headers = {
    "grpc-status": "8",
    "grpc-status-details-bin": base64Encode(toBinary(StatusSchema, status), "std_raw"),
    "retry-after": "3",
  };
  // What Connect makes of HTTP's 429.
  const error = toError(new ConnectError("Wait.", Code.Unavailable, headers));
  expect(error).toMatchObject({ reason: "COOLDOWN", code: "RESOURCE_EXHAUSTED", retryAfterS: 2.5 });
});

test("without a status of gRPC the way there failed", () => {
  expect(toError(new TypeError("Failed to fetch"))).toMatchObject({ reason: "", code: "UNAVAILABLE" });
  expect(toError(new ConnectError("HTTP 502", Code.Unavailable)).code).toBe("UNAVAILABLE");
  expect(toError(new ConnectError("late", Code.DeadlineExceeded)).code).toBe("DEADLINE_EXCEEDED");
  expect(toError(new ConnectError("gone", Code.Canceled)).code).toBe("CANCELLED");
});

test("an error of ours stays what it is", () => {
  const error = new ScoreboardError("No.", { reason: "BANNED" });
  expect(toError(error)).toBe(error);
});

test("an error body is read, and nothing else is taken for one", () => {
  const body = { success: false, error: "Leaderboard not found", message: "No such board.", reason: "UNKNOWN_BOARD" };
  expect(fromBody(body)).toMatchObject({ message: "No such board.", reason: "UNKNOWN_BOARD", code: "" });
  expect(fromBody(body, 404, "7")).toMatchObject({ code: "NOT_FOUND", retryAfterS: 7 });
  for (const other of [undefined, null, "text", [], { success: true }, { leaderboard: [] }]) {
    expect(fromBody(other)).toBeUndefined();
  }
});
