import { expect, test, vi } from "vitest";
import { exclusive } from "../src/locks.js";

test("without navigator.locks one waits for the other, and a failure stops nobody", async () => {
  vi.stubGlobal("navigator", undefined);
  const locked = exclusive("name");
  const order: string[] = [];
  const work = (name: string, fails = false) =>
    locked(async () => {
      order.push(`${name} begins`);
      await Promise.resolve();
      order.push(`${name} ends`);
      if (fails) {
        throw new Error(name);
      }
      return name;
    });
  const [first, second, third] = [work("first"), work("second", true), work("third")];
  await expect(second).rejects.toThrow("second");
  expect([await first, await third]).toEqual(["first", "third"]);
  expect(order).toEqual(["first begins", "first ends", "second begins", "second ends", "third begins", "third ends"]);
  vi.unstubAllGlobals();
});
