import { describe, expect, test } from "vitest";
import { type ErrorFacts, ScoreboardError } from "../src/error.js";
import { answerTo, endingOf, endingOfClose } from "../src/rules/ending.js";
import { afterBreak, afterFailure, type Plan, RECONNECT_MAX_S, reconnectWaitS, START } from "../src/rules/plan.js";
import { isDue, refusesRenewal, renewAtMs, renewalOf, type Session } from "../src/rules/renewal.js";
import { WAIT_MAX_S, waitBefore } from "../src/rules/retry.js";
import { failure, outcomeWaitS, stepAfter, unsent } from "../src/rules/scoring.js";

const error = (facts: ErrorFacts) => new ScoreboardError("No.", facts);
const away = error({ code: "UNAVAILABLE" });

describe("a call is repeated", () => {
  test.each([
    [{ code: "UNAVAILABLE" }, true],
    [{ code: "UNAVAILABLE", reason: "BROKER_AWAY" }, true],
    [{ code: "DEADLINE_EXCEEDED" }, true],
    [{ code: "RESOURCE_EXHAUSTED", reason: "QUEUE_FULL" }, true],
    [{ code: "RESOURCE_EXHAUSTED", reason: "RATE_LIMITED" }, false],
    [{ code: "RESOURCE_EXHAUSTED", reason: "COOLDOWN" }, false],
    [{ code: "INTERNAL" }, true],
    [{ code: "INTERNAL", reason: "INTERNAL" }, false],
    [{ code: "CANCELLED" }, false],
    [{ code: "UNAUTHENTICATED", reason: "TOKEN_EXPIRED" }, false],
  ] satisfies [ErrorFacts, boolean][])("after %o: %s", (facts, isRepeated) => {
    expect(waitBefore(error(facts), 1, 15, 0) !== undefined).toBe(isRepeated);
  });

  test("after waits that grow to a bound", () => {
    expect([1, 2, 3, 4, 5, 50].map((tries) => waitBefore(away, tries, 99, 1))).toEqual([
      0.1,
      0.2,
      0.4,
      0.8,
      WAIT_MAX_S,
      WAIT_MAX_S,
    ]);
    expect(waitBefore(away, 5, 99, 0)).toBe(0);
  });

  test("not before the server wants it, and not past the deadline", () => {
    const full = error({ reason: "QUEUE_FULL", code: "RESOURCE_EXHAUSTED", retryAfterS: 2 });
    expect(waitBefore(full, 1, 99, 0.5)).toBe(2.05);
    expect(waitBefore(full, 1, 2, 0.5)).toBeUndefined();
    expect(waitBefore(away, 1, 0, 0)).toBeUndefined();
  });

  test.each([
    [{ code: "UNAVAILABLE", reason: "BROKER_AWAY" }, true],
    [{ code: "DEADLINE_EXCEEDED" }, true],
    [{ code: "CANCELLED" }, true],
    [{ code: "INTERNAL" }, true],
    [{ code: "INTERNAL", reason: "INTERNAL" }, false],
    [{ code: "RESOURCE_EXHAUSTED", reason: "QUEUE_FULL" }, false],
    [{ code: "PERMISSION_DENIED", reason: "BANNED" }, false],
  ] satisfies [ErrorFacts, boolean][])("and after %o may have been carried out: %s", (facts, isUnknown) => {
    expect(error(facts).isUnknown).toBe(isUnknown);
  });
});

describe("an update", () => {
  const so = { isNonceOurs: true, isUnknown: false, isRenewed: false };

  test.each(["NONCE_MALFORMED", "NONCE_EXPIRED"] as const)("gets an issued nonce after %s", (reason) => {
    expect(stepAfter(error({ reason }), so)).toBe("issue");
  });

  test.each([
    ["the caller gave", { ...so, isNonceOurs: false }],
    ["may have counted", { ...so, isUnknown: true }],
  ])("keeps a nonce that %s", (_, tries) => {
    expect(stepAfter(error({ reason: "NONCE_EXPIRED" }), tries)).toBe("throw");
  });

  test("gets a new token once", () => {
    expect(stepAfter(error({ reason: "TOKEN_EXPIRED" }), so)).toBe("renew");
    expect(stepAfter(error({ reason: "TOKEN_EXPIRED" }), { ...so, isRenewed: true })).toBe("throw");
  });

  test("is else repeated as any call", () => {
    expect(stepAfter(away, so)).toBe("repeat");
    expect(stepAfter(error({ reason: "BANNED" }), so)).toBe("repeat");
  });

  test("that may have counted brings its nonce along, whatever the last try met", () => {
    expect(failure(away, "c.1", so)).toMatchObject({ isUnknown: true, nonce: "c.1" });
    const limited = error({ code: "RESOURCE_EXHAUSTED", reason: "RATE_LIMITED", retryAfterS: 6 });
    expect(failure(limited, "c.1", so)).toMatchObject({ isUnknown: false, nonce: "", retryAfterS: 6 });
    expect(failure(limited, "c.1", { ...so, isUnknown: true })).toMatchObject({ isUnknown: true, nonce: "c.1" });
    const capped = error({ code: "RESOURCE_EXHAUSTED", reason: "CAP_REACHED" });
    expect(failure(capped, "c.1", { ...so, isUnknown: true })).toMatchObject({ isUnknown: false, nonce: "" });
  });

  test("that could not be sent again is as unknown as the tries before", () => {
    const away = error({ code: "UNAVAILABLE" });
    expect(unsent(away, "c.1", so)).toMatchObject({ isUnknown: false, nonce: "", code: "UNAVAILABLE" });
    const revoked = error({ code: "UNAUTHENTICATED", reason: "SESSION_REVOKED" });
    expect(unsent(revoked, "c.1", { ...so, isUnknown: true })).toMatchObject({ isUnknown: true, nonce: "c.1" });
    expect(unsent(error({ reason: "BANNED" }), "c.1", { ...so, isUnknown: true })).toMatchObject({ isUnknown: true });
  });

  test("that is pending is asked for soon, then more and more rarely", () => {
    expect([0, 1, 2, 9].map((asked) => outcomeWaitS(asked, 1))).toEqual([0.1, 0.2, 0.4, 2]);
    expect(outcomeWaitS(0, 0)).toBe(0.05);
  });
});

describe("a session", () => {
  const session: Session = {
    userId: "u_1",
    username: "ada",
    isGuest: false,
    accessToken: "a",
    refreshToken: "r1",
    key: {} as CryptoKey,
    renewAtMs: renewAtMs(1_000_000, 600),
    clockAheadMs: 0,
  };

  test("is renewed half a minute before its token is over", () => {
    expect(session.renewAtMs).toBe(1_570_000);
    expect(isDue(session, 1_569_999)).toBe(false);
    expect(isDue(session, 1_570_000)).toBe(true);
  });

  test("is renewed, taken over from another tab, or over", () => {
    expect(renewalOf(session, session)).toBe("renew");
    expect(renewalOf(session, { ...session, refreshToken: "r2" })).toBe("adopt");
    expect(renewalOf(session, undefined)).toBe("ended");
  });

  test("is lost when its renewal is refused, not when the server is away", () => {
    expect(refusesRenewal("SESSION_REVOKED")).toBe(true);
    expect(refusesRenewal("TOKEN_EXPIRED")).toBe(true);
    expect(refusesRenewal("SERVICE_AWAY")).toBe(false);
    expect(refusesRenewal("")).toBe(false);
  });
});

describe("a watch", () => {
  const fail = (plan: Plan, times: number) => {
    let next = plan;
    for (let n = 0; n < times; n++) {
      next = afterFailure(next, 3);
    }
    return next;
  };

  test("takes the next way after two failures, and begins again behind the last", () => {
    expect([0, 1, 2, 3, 4, 5, 6].map((failures) => fail(START, failures).at)).toEqual([0, 0, 1, 1, 2, 2, 0]);
  });

  test("keeps a way that has worked through an outage of half a minute", () => {
    const proven = afterBreak(START);
    expect([1, 7, 8].map((failures) => fail(proven, failures).at)).toEqual([0, 0, 1]);
    let waited = 0;
    for (let failures = 0; failures < 8; failures++) {
      waited += reconnectWaitS(fail(proven, failures), 0.5);
    }
    expect(waited).toBeGreaterThan(20);
  });

  test("tries the first way again when a fallback ends", () => {
    expect(afterBreak(fail(START, 4))).toEqual(START);
  });

  test("returns within a second at random, then after waits that grow to a bound", () => {
    expect(reconnectWaitS(afterBreak(START), 0)).toBe(0);
    expect(reconnectWaitS(afterBreak(START), 0.9)).toBe(0.9);
    expect([1, 2, 3, 20].map((failures) => reconnectWaitS(fail(START, failures), 1))).toEqual([
      0.5,
      1,
      2,
      RECONNECT_MAX_S,
    ]);
    expect(reconnectWaitS(fail(START, 1), 0, 3)).toBe(3.25);
  });

  test.each([1002, 1007, 1009, 4003])("ends with the close code %i", (code) => {
    expect(endingOfClose(code, "Words.")).toMatchObject({ isFinal: true, error: { message: "Words." } });
  });

  test.each([1000, 1001, 1006, 1012, 1013, 4001, 4008])("comes back after the close code %i", (code) => {
    expect(endingOfClose(code, "").isFinal).toBe(false);
  });

  test("ends when the wish is wrong, and comes back when the server is in trouble", () => {
    expect(endingOf(error({ reason: "UNKNOWN_BOARD" })).isFinal).toBe(true);
    expect(endingOf(error({ reason: "INVALID_ARGUMENT" })).isFinal).toBe(true);
    expect(endingOf(error({ reason: "LEADERBOARD_UNAVAILABLE" })).isFinal).toBe(false);
    expect(endingOf(error({ reason: "INTERNAL" })).isFinal).toBe(false);
    expect(endingOf(away).isFinal).toBe(false);
  });

  test("knows what an error frame asks for", () => {
    expect(answerTo("TOKEN_EXPIRED")).toBe("renew");
    expect(answerTo("SESSION_REVOKED")).toBe("forget");
    expect(answerTo("LEADERBOARD_UNAVAILABLE")).toBe("wait");
    expect(answerTo("UNKNOWN_BOARD")).toBe("end");
    expect(answerTo("RATE_LIMITED")).toBe("end");
  });
});
