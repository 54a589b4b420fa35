/** What a call that did not succeed says, whichever way the answer came. */

import { fromBinary } from "@bufbuild/protobuf";
import { base64Decode } from "@bufbuild/protobuf/wire";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "./gen/google/rpc/status_pb.js";
import type { ErrorReason } from "./gen/scoreboard/v1/error_reason_pb.js";

/** A name of `scoreboard.v1.ErrorReason` without its prefix; empty where the server did not get to say one. */
export type Reason = Exclude<keyof typeof ErrorReason, "UNSPECIFIED"> | "";

const CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** A canonical gRPC code; empty where the way that the error came by has none (a WebSocket's frame). */
export type ErrorCode = (typeof CODES)[number] | "";

/** What is known of a {@link ScoreboardError} beside its sentence. */
export interface ErrorFacts {
  reason?: Reason;
  code?: ErrorCode;
  retryAfterS?: number | undefined;
  metadata?: Readonly<Record<string, string>>;
  isUnknown?: boolean;
  nonce?: string;
  cause?: unknown;
}

/** A call that the server turned down, or could not take. Its `message` is a sentence that a person can act on. */
export class ScoreboardError extends Error {
  override readonly name = "ScoreboardError";
  /** Why, in one word that programs may rely on. */
  readonly reason: Reason;
  /** The canonical gRPC code. */
  readonly code: ErrorCode;
  /** Seconds after which a retry helps, where it does. */
  readonly retryAfterS: number | undefined;
  /** What the sentence mentions, by name: `action_id`, `field`, … */
  readonly metadata: Readonly<Record<string, string>>;
  /** Whether an answer was lost, so that the call may have done what it asked for. */
  readonly isUnknown: boolean;
  /** Of an update that may have counted: what it was sent with; `score` with the same nonce settles it. Else empty. */
  readonly nonce: string;

  constructor(message: string, facts: ErrorFacts = {}) {
    super(message, { cause: facts.cause });
    this.reason = facts.reason ?? "";
    this.code = facts.code ?? "";
    this.retryAfterS = facts.retryAfterS;
    this.metadata = facts.metadata ?? {};
    this.isUnknown = facts.isUnknown ?? isLost(this.code, this.reason);
    this.nonce = facts.nonce ?? "";
  }
}

/** Tells whether the server may have done what was asked: nobody said that it did not. */
function isLost(code: ErrorCode, reason: Reason): boolean {
  return code === "UNAVAILABLE" || code === "DEADLINE_EXCEEDED" || code === "CANCELLED" || isBroken(code, reason);
}

/** Tells whether the way broke, not the call: the gateway resets a stream whose service died, without a reason. */
export function isBroken(code: ErrorCode, reason: Reason): boolean {
  return reason === "" && (code === "INTERNAL" || code === "UNKNOWN");
}

/** Returns what a failed gRPC-Web call says, with reason and delay from its details. */
export function toError(thrown: unknown): ScoreboardError {
  if (thrown instanceof ScoreboardError) {
    return thrown;
  }
  const error = ConnectError.from(thrown);
  const header = error.metadata.get("grpc-status");
  const found = details(error);
  return new ScoreboardError(error.rawMessage, {
    reason: (found.info?.reason ?? "") as Reason,
    code: header === null ? codeWithoutStatus(error) : (CODES[Number(header)] ?? "UNKNOWN"),
    retryAfterS: found.retryAfterS ?? seconds(error.metadata.get("retry-after")),
    metadata: found.info?.metadata ?? {},
    cause: thrown,
  });
}

/** Returns what an error body of the HTTP side says (CONTRACT.md), or `undefined` for anything else. */
export function fromBody(body: unknown, status?: number, retryAfter?: string | null): ScoreboardError | undefined {
  if (typeof body !== "object" || body === null || !("success" in body) || body.success !== false) {
    return undefined;
  }
  const { message, reason } = body as { message?: unknown; reason?: unknown };
  return new ScoreboardError(String(message), {
    reason: (typeof reason === "string" ? reason : "") as Reason,
    code: status === undefined ? "" : (HTTP_CODES[status] ?? "UNKNOWN"),
    retryAfterS: seconds(retryAfter ?? null),
  });
}

/** The codes of the statuses that the gateway answers with. */
const HTTP_CODES: Readonly<Record<number, ErrorCode>> = {
  400: "INVALID_ARGUMENT",
  401: "UNAUTHENTICATED",
  403: "PERMISSION_DENIED",
  404: "NOT_FOUND",
  429: "RESOURCE_EXHAUSTED",
  500: "INTERNAL",
  502: "UNAVAILABLE",
  503: "UNAVAILABLE",
  504: "DEADLINE_EXCEEDED",
};

/** No gRPC answered: the way there failed (no network, a cut answer, a proxy's own page), or time was over. */
function codeWithoutStatus(error: ConnectError): ErrorCode {
  const code = CODES[error.code] ?? "UNKNOWN";
  return code === "UNKNOWN" ? "UNAVAILABLE" : code;
}

function details(error: ConnectError) {
  // Where the gateway itself refuses, HTTP's status is no 200, and Connect leaves the details in the header.
  const header = error.details.length > 0 ? null : error.metadata.get("grpc-status-details-bin");
  if (header === null) {
    const [info, retry] = [error.findDetails(ErrorInfoSchema)[0], error.findDetails(RetryInfoSchema)[0]];
    return { info, retryAfterS: duration(retry?.retryDelay) };
  }
  const unpacked = fromBinary(StatusSchema, base64Decode(header)).details;
  const info = unpacked.map((any) => anyUnpack(any, ErrorInfoSchema)).find((found) => found !== undefined);
  const retry = unpacked.map((any) => anyUnpack(any, RetryInfoSchema)).find((found) => found !== undefined);
  return { info, retryAfterS: duration(retry?.retryDelay) };
}

function duration(given: { seconds: bigint; nanos: number } | undefined): number | undefined {
  return given && Number(given.seconds) + given.nanos / 1e9;
}

function seconds(header: string | null): number | undefined {
  return header !== null && /^\d+$/.test(header) ? Number(header) : undefined;
}
