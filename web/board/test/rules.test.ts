import { ScoreboardError } from "scoreboard-client";
import { describe, expect, test } from "vitest";
import { format, parse } from "../src/address";
import { find, fold } from "../src/find";
import { follow, SHOWN_MS, shown, tied } from "../src/movement";
import { clock, counted, duration, movement, ordinal, refusal, title } from "../src/words";

describe("words", () => {
  test.each([
    [0, "0 s"],
    [-5, "0 s"],
    [1, "1 s"],
    [59_001, "1 m 0 s"],
    [18_720_000, "5 h 12 m"],
    [187_200_000, "2 d 4 h"],
  ])("%i ms last %s", (ms, words) => expect(duration(ms)).toBe(words));

  test.each([
    [1, "1st"],
    [2, "2nd"],
    [3, "3rd"],
    [11, "11th"],
    [122, "122nd"],
    [1013, "1,013th"],
  ])("rank %i is the %s", (rank, words) => expect(ordinal(rank)).toBe(words));

  test("names read as titles", () => {
    expect(["all", "daily", "grand-final_2"].map(title)).toEqual(["All time", "Daily", "Grand final 2"]);
  });

  test("one is no plural", () => expect([counted(1, "point"), counted(2, "point")]).toEqual(["1 point", "2 points"]));
  test("movements are heard", () => expect([movement(3), movement(-1)]).toEqual(["up 3 places", "down 1 place"]));
  test("a time of day has seconds", () => expect(clock(0)).toMatch(/^\d\d:\d\d:\d\d$/));

  test.each([
    ["COOLDOWN", "Too soon"],
    ["CAP_REACHED", "Enough for now"],
    ["RATE_LIMITED", "Too fast"],
    ["NOT_YOUR_SCORE", "Refused"],
  ] as const)("%s reads: %s", (reason, short) => {
    const error = new ScoreboardError("The server's sentence.", { reason, code: "RESOURCE_EXHAUSTED" });
    expect(refusal(error)).toEqual({ short, sentence: "The server's sentence." });
  });

  test("no answer is no refusal", () => {
    const said = refusal(new ScoreboardError("Failed to fetch", { code: "UNAVAILABLE" }));
    expect(said).toEqual({ short: "No answer", sentence: "The server cannot be reached." });
  });
});

describe("addresses", () => {
  test("a bare one", () => {
    expect(parse("")).toEqual({ board: "", period: "", isKiosk: false, rows: 10, theme: "" });
  });

  test("a wall screen's", () => {
    const found = parse("?board=daily&kiosk&rows=99&theme=dark&period=2026-01-02");
    expect(found).toEqual({ board: "daily", period: "2026-01-02", isKiosk: true, rows: 30, theme: "dark" });
  });

  test.each(["?rows=0", "?rows=x", "?rows=-3"])("%s has no such rows", (search) => expect(parse(search).rows).toBe(10));

  test("another board keeps the rest, but for the period", () => {
    expect(format("?kiosk&board=all&period=x", "daily")).toBe("?kiosk&board=daily");
    expect(format("?theme=dark", "a b", "2026")).toBe("?theme=dark&board=a+b&period=2026");
  });
});

describe("movements", () => {
  const board = (...ids: string[]) => ids.map((userId, n) => ({ userId, rank: n + 1 }));

  test("what is there at first did not move", () => {
    const moves = follow(undefined, board("a", "b"), 0);
    expect(shown(moves, "a", 1)).toBe(0);
  });

  test("rows that complete the first board are not new, and later ones are", () => {
    const first = follow(undefined, board("a"), 0);
    const whole = follow(first, board("a", "b"), 100);
    expect(shown(whole, "b", 101)).toBe(0);
    expect(shown(follow(whole, board("c", "a", "b"), 5_000), "c", 5_001)).toBe("new");
  });

  test("movements add up while they are shown, and end", () => {
    const first = follow(undefined, board("a", "b", "c"), 0);
    const second = follow(first, board("a", "c", "b"), 10_000);
    const third = follow(second, board("c", "a", "b"), 11_000);
    expect([shown(third, "c", 11_001), shown(third, "a", 11_001)]).toEqual([2, -1]);
    expect(shown(third, "c", 11_000 + SHOWN_MS)).toBe(0);
  });

  test("equal scores stand out among neighbours", () => {
    const scores = [9, 7, 7, 5, 4, 4].map((score, n) => ({ userId: `u${n}`, score }));
    expect([...tied(scores)]).toEqual(["u1", "u2", "u4", "u5"]);
  });
});

describe("the search", () => {
  const rows = Array.from({ length: 250 }, (_, n) => ({ rank: n + 1, userId: `u_${n + 1}`, username: `Zoé ${n + 1}` }));
  const asked: number[] = [];
  const pages = async (offset: number) => {
    asked.push(offset);
    return rows.slice(offset, offset + 100) as never;
  };

  test.each([
    ["zoe 150", 0, 150],
    ["u_7", 0, 7],
    ["ZOÉ", 99, 100],
    ["zoe", 100, 101],
    ["nobody", 0, undefined],
    ["zoe", 250, undefined],
  ])("%s after rank %i is at %s", async (text, after, rank) => {
    expect((await find(text, after, pages))?.rank).toBe(rank);
  });

  test("begins at the page of the rank", async () => {
    asked.length = 0;
    await find("zoe", 120, pages);
    expect(asked).toEqual([100]);
  });

  test("case and accents do not count", () => expect(fold(" Ängström ")).toBe("angstrom"));
});
